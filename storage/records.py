"""A task as clients see it: one struct for waiting, running and ended ones."""

import asyncio
import re
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from pipeline.request.schema import IMAGE_FIELDS
from pipeline.scheduling.task import Outcome, Task
from storage.stored_params import StoredParams, as_json, stored_params

# Fields of a request whose values are paths on this server, at any depth.
_IMAGE_FIELDS: Final = frozenset({*IMAGE_FIELDS, "cn_img"})
_CONTAINERS: Final = frozenset({dict, list})  # of decoded JSON
_OWN_FOLDERS: Final = ("/outputs/", "/inputs/")
_FEW: Final = 20  # rows, a third of a millisecond

_ASKS_FOR_BASE64: Final = re.compile(r'"require_base64"\s*:\s*true')
_encode: Final = msgspec.json.Encoder(enc_hook=as_json).encode


class TaskRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One task. Times are Unix ms; null means not yet, and of a running task -1 does."""

    id: int
    task_id: str
    req_params: Mapping[str, object]
    in_queue_mills: int | None
    start_mills: int | None
    finish_mills: int | None
    task_status: str | None
    progress: float | int | None
    preview: str | UnsetType = UNSET
    webhook_url: str
    result: list[str] | None
    error: str | UnsetType = UNSET
    code: str | UnsetType = UNSET
    notes: dict[str, object] | UnsetType = UNSET
    family: str | UnsetType = UNSET  # API family that took the request, if not Fooocus's own
    key: str | UnsetType = UNSET  # name of the API key, if it has one

    @property
    def wants_base64(self) -> bool:
        """Whether its request asked for results as data URLs."""
        params = self.req_params
        if isinstance(params, StoredParams) and not _ASKS_FOR_BASE64.search(params.text):
            return False  # without decoding all of them
        return params.get("require_base64") is True


def accepted_record(task: Task) -> TaskRecord:
    """What an asynchronous request is answered with: nothing is known yet but the id."""
    return TaskRecord(
        id=-1,
        task_id=task.task_id,
        req_params={},
        in_queue_mills=-1,
        start_mills=-1,
        finish_mills=-1,
        task_status="pending",
        progress=-1,
        preview="",
        webhook_url=task.delivery.webhook,
        family=task.delivery.family or UNSET,
        key=task.delivery.key or UNSET,
        result=[],
    )


def pending_record(task: Task) -> TaskRecord:
    """A task that waits."""
    return TaskRecord(
        id=-1,
        task_id=task.task_id,
        req_params=params_of(task),
        in_queue_mills=task.in_queue_mills,
        start_mills=None,
        finish_mills=None,
        task_status=None,
        progress=None,
        webhook_url=task.delivery.webhook,
        family=task.delivery.family or UNSET,
        key=task.delivery.key or UNSET,
        result=None,
    )


def running_record(task: Task, started_mills: int, progress: int, preview: str) -> TaskRecord:
    """A task that a device has; ``preview`` is a data URL, or "" before the first."""
    return TaskRecord(
        id=-1,
        task_id=task.task_id,
        req_params=params_of(task),
        in_queue_mills=task.in_queue_mills,
        start_mills=started_mills,
        finish_mills=-1,
        task_status="running",
        progress=progress,
        preview=preview,
        webhook_url=task.delivery.webhook,
        family=task.delivery.family or UNSET,
        key=task.delivery.key or UNSET,
        result=[],
    )


def ended_record(record: TaskRecord, outcome: Outcome) -> TaskRecord:
    """A record as it is once ``outcome`` is written into its row."""
    return msgspec.structs.replace(
        record,
        start_mills=outcome.started_mills,
        finish_mills=outcome.finished_mills,
        task_status=outcome.status,
        progress=100 if outcome.status == "finished" else None,
        result=list(outcome.images),
        error=outcome.error or UNSET,
        code=outcome.code or UNSET,
        notes=outcome.notes or UNSET,
    )


def stored_record(row: sqlite3.Row) -> TaskRecord:
    """A row of the view ``focal_record``, ours or the reference server's. Results become paths."""
    progress = row["progress"]
    return TaskRecord(
        id=row["id"],
        task_id=row["task_id"],
        req_params=stored_params(row["req_params"]),
        in_queue_mills=row["in_queue_mills"],
        start_mills=row["start_mills"],
        finish_mills=row["finish_mills"],
        task_status=row["task_status"],
        progress=int(progress) if progress is not None and progress == int(progress) else progress,
        webhook_url=row["webhook_url"] or "",
        result=stored_result(row["result"]),
        error=row["error"] or UNSET,
        code=row["code"] or UNSET,
        notes=_as_dict(row["notes"]) or UNSET,
        family=row["family"] or UNSET,
        key=row["key_name"] or UNSET,
    )


def stored_result(cell: str | None) -> list[str] | None:
    """The paths of the pictures in a ``result`` cell; None for an open row, or a damaged cell."""
    result = _decoded(cell)
    return [_stored_path(str(url)) for url in result] if isinstance(result, list) else None


async def stored_records(rows: Sequence[sqlite3.Row]) -> list[TaskRecord]:
    """``stored_record`` of each. Many take longer than the event loop may be held."""
    if len(rows) <= _FEW:
        return [stored_record(row) for row in rows]
    return await asyncio.to_thread(lambda: [stored_record(row) for row in rows])


def absolute(record: TaskRecord, base_url: str) -> TaskRecord:
    """The same record with every path on this server made a URL under ``base_url``."""
    base = base_url.rstrip("/")
    result = record.result
    return msgspec.structs.replace(
        record,
        result=None if result is None else [absolute_url(path, base) for path in result],
        req_params=_with_urls(record.req_params, base),
    )


def absolute_url(path: str, base_url: str) -> str:
    """``base_url`` (no last slash) before a path on this server; anything else as it is."""
    return base_url + path if path.startswith(_OWN_FOLDERS) else path


def encode_record(record: TaskRecord) -> bytes:
    """A record as JSON."""
    return _encode(record)


def params_of(task: Task) -> dict[str, object]:
    """The fields of a task's request as plain JSON values."""
    return {**msgspec.to_builtins(task.params), **task.delivery.asked}


def _with_urls(params: Mapping[str, object], base: str) -> Mapping[str, object]:
    if isinstance(params, StoredParams):
        if not _may_name_files(params.text):
            return params
        params = params.values_by_name
    # Of some sixty fields a few hold images.
    images = {
        name: _image_url(name, value, base)
        for name, value in params.items()
        if name in _IMAGE_FIELDS or type(value) in _CONTAINERS
    }
    return {**params, **images}


def _may_name_files(text: str) -> bool:
    """Whether JSON may hold paths on this server. Other programs may write a slash as ``\\/``."""
    return '"/inputs/' in text or '"/outputs/' in text or ("\\" in text and "\\/" in text)


def _image_url(name: str, value: object, base: str) -> object:
    if isinstance(value, str):
        return absolute_url(value, base) if name in _IMAGE_FIELDS else value
    if isinstance(value, list):
        return [_image_url(name, item, base) for item in value]
    if isinstance(value, dict):
        return {key: _image_url(key, item, base) for key, item in value.items()}
    return value


def _stored_path(url: str) -> str:
    # The reference stores whole URLs, with the host of that day.
    _, found, rest = url.partition("/outputs/")
    return f"/outputs/{rest}" if found and not url.startswith("data:") else url


def _decoded(text: str | None) -> object:
    try:
        return msgspec.json.decode(text) if text else None
    except msgspec.DecodeError:  # a damaged cell must not hide the rest of the history
        return None


def _as_dict(text: str | None) -> dict[str, object]:
    value = _decoded(text)
    return value if isinstance(value, dict) else {}
