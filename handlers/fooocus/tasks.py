"""GET /tasks and /tasks/{task_id}: what waits, what runs, and the history."""

import asyncio
import re
from collections.abc import Mapping
from datetime import UTC, datetime, time
from typing import Any, Final, Literal, get_args

import msgspec
from aiohttp import web

from bus.events import HistoryDeleted, now_ms
from handlers.http.errors import RequestRefused, field_error
from handlers.http.query import wrong_query
from handlers.http.respond import base_url, json_response
from handlers.keys import BUS, EXECUTOR, HISTORY, OUTPUTS
from handlers.service.tasks import live_record, record_of, with_results
from storage.records import TaskRecord, absolute, pending_record

Query = Literal["all", "history", "current", "pending"]

PAGE_SIZE: Final = 10
PAGE_SIZE_LIMIT: Final = 1000
PAGE_LIMIT: Final = 10**9
FEW: Final = 20  # records that are answered on the spot
_LOST_PLUS: Final = re.compile(r" (\d{2}:?\d{2})$")  # "+08:00" that a query string made " 08:00"


class TasksReply(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for; the lists that were not asked for are empty."""

    history: list[TaskRecord]
    current: list[TaskRecord]
    pending: list[TaskRecord]


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """A query string, checked. ``start_ms`` and ``end_ms`` bound in_queue_mills, both included."""

    query: Query
    paged: bool
    page: int
    page_size: int
    start_ms: int | None
    end_ms: int | None


class WrongQuery(Exception):
    """A parameter of the query string that cannot be used."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


async def list_tasks(request: web.Request) -> web.Response:
    """Queue and history; with ``action=delete`` the history that a range of time holds goes."""
    try:
        selection = read_selection(request.query)
        if (bounds := read_deletion(request.query, selection)) is not None:
            return await _delete(request, *bounds)
    except WrongQuery as wrong:
        return field_error(("query", wrong.name), str(wrong))
    wanted = selection.query
    reply = TasksReply(
        history=await _history(request, selection) if wanted in ("all", "history") else [],
        current=_current(request) if wanted in ("all", "current") else [],
        pending=_pending(request, selection) if wanted in ("all", "pending") else [],
    )
    return await _answer(request, reply)


async def get_task(request: web.Request) -> web.Response:
    """One task, alive or from the history. 404 if there is no such task."""
    task_id = request.match_info["task_id"]
    record = live_record(request, task_id) or await request.app[HISTORY].get(task_id)
    if record is None:
        raise RequestRefused(404, "not_found", "there is no such task")
    as_base64 = record.req_params.get("require_base64") is True
    return json_response(await with_results(request, record, as_base64=as_base64))


def read_range(query: Mapping[str, str]) -> tuple[int | None, int | None]:
    """``start_at`` and ``end_at`` in Unix milliseconds. Refused with 422 if one is no time."""
    try:
        return _moment(query, "start_at"), _moment(query, "end_at")
    except WrongQuery as wrong:
        raise wrong_query(wrong.name, str(wrong)) from None


def read_selection(query: Mapping[str, str]) -> Selection:
    """Check a query string. Raises WrongQuery."""
    wanted: Any = query.get("query", "all")
    if wanted not in get_args(Query):
        raise WrongQuery("query", f"Expected one of {', '.join(get_args(Query))}")
    start_ms, end_ms = _moment(query, "start_at"), _moment(query, "end_at")
    if start_ms is not None and end_ms is None:
        end_ms = now_ms()
    return Selection(
        query=wanted,
        paged=start_ms is None or "page" in query or "page_size" in query,
        page=_whole_number(query, "page", 0, (0, PAGE_LIMIT)),
        page_size=_whole_number(query, "page_size", PAGE_SIZE, (1, PAGE_SIZE_LIMIT)),
        start_ms=start_ms,
        end_ms=end_ms,
    )


def read_deletion(query: Mapping[str, str], selection: Selection) -> tuple[int, int] | None:
    """The range to delete, in Unix milliseconds; None if nothing is to be. Raises WrongQuery."""
    action = query.get("action", "")
    if action not in ("", "delete"):
        raise WrongQuery("action", "Expected delete")
    if not action:
        return None
    if selection.start_ms is None or selection.end_ms is None:
        raise WrongQuery("start_at", "delete needs the beginning of a range; nothing was deleted")
    return selection.start_ms, selection.end_ms


def _whole_number(
    query: Mapping[str, str], name: str, default: int, bounds: tuple[int, int]
) -> int:
    text = query.get(name)
    if text is None:
        return default
    low, high = bounds
    if not re.fullmatch(r"-?[0-9]{1,18}", text) or not low <= int(text) <= high:
        raise WrongQuery(name, f"Expected a whole number from {low} to {high}")
    return int(text)


def _moment(query: Mapping[str, str], name: str) -> int | None:
    """Unix milliseconds of an ISO 8601 time, local where it names no zone.

    A date alone begins its day as ``start_at`` and ends it as ``end_at``.
    """
    text = _LOST_PLUS.sub(r"+\1", query.get(name, "").strip())
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if len(text) <= len("2024-07-03") and name == "end_at":
            moment = datetime.combine(moment, time.max)
        return int(moment.astimezone(UTC).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        raise WrongQuery(name, "Expected a time such as 2024-07-03T12:22:30") from None


async def _history(request: web.Request, selection: Selection) -> list[TaskRecord]:
    return await request.app[HISTORY].page(
        selection.start_ms,
        selection.end_ms,
        selection.page,
        selection.page_size if selection.paged else None,
    )


def _current(request: web.Request) -> list[TaskRecord]:
    return [record_of(running) for running in request.app[EXECUTOR].running()]


def _pending(request: web.Request, selection: Selection) -> list[TaskRecord]:
    first = selection.page * selection.page_size
    tasks = request.app[EXECUTOR].pending()[first : first + selection.page_size]
    return [pending_record(task) for task in tasks]


async def _answer(request: web.Request, reply: TasksReply) -> web.Response:
    """With whole URLs. A long list takes longer than the event loop may be held."""
    base = base_url(request)
    if len(reply.history) + len(reply.pending) <= FEW:
        return json_response(_with_urls(reply, base))
    return await asyncio.to_thread(lambda: json_response(_with_urls(reply, base)))


def _with_urls(reply: TasksReply, base: str) -> TasksReply:
    return TasksReply(
        history=[absolute(record, base) for record in reply.history],
        current=[absolute(record, base) for record in reply.current],
        pending=[absolute(record, base) for record in reply.pending],
    )


async def _delete(request: web.Request, start_ms: int, end_ms: int) -> web.Response:
    """Remove rows, then their pictures. The guard has refused other sites' links before."""
    records = await request.app[HISTORY].delete_range(start_ms, end_ms)
    for record in records:
        for path in record.result or []:
            await asyncio.to_thread(request.app[OUTPUTS].delete, path)
    if records:
        gone = tuple(record.task_id for record in records)
        request.app[BUS].publish(HistoryDeleted(task_ids=gone))
    return await _answer(request, TasksReply(history=records, current=[], pending=[]))
