"""A task as it is now, for replies: from memory while it lives, from its row afterwards."""

import asyncio
import base64
from contextlib import suppress

import msgspec
from aiohttp import web

from handlers.http.respond import base_url
from handlers.keys import EXECUTOR, HISTORY, OUTPUTS
from pipeline.errors import ServerStopping
from pipeline.images.encode import MIME_TYPES
from pipeline.scheduling.progress import RunningTask
from pipeline.scheduling.task import Outcome
from storage.records import TaskRecord, absolute, absolute_url, pending_record, running_record


def live_record(request: web.Request, task_id: str) -> TaskRecord | None:
    """The task as it waits or runs; None if it does neither (any more)."""
    executor = request.app[EXECUTOR]
    for running in executor.running():
        if running.task.task_id == task_id:
            return record_of(running)
    task = executor.waiting_task(task_id)
    return None if task is None else pending_record(task)


def record_of(running: RunningTask) -> TaskRecord:
    """The record of a task that a device has, with the newest preview."""
    snapshot = running.snapshot
    return running_record(running.task, running.started_mills, snapshot.progress, snapshot.preview)


async def end_of(request: web.Request, task_id: str) -> TaskRecord | None:
    """Wait for the task's end and return its row: None if it has been deleted.

    Raises ServerStopping if the server ends first; the task then runs after the next start.
    """
    outcome = None
    with suppress(KeyError):  # it has ended before
        outcome = await request.app[EXECUTOR].wait(task_id)
    record = await request.app[HISTORY].get(task_id)
    if record is None or record.task_status is not None:
        return record
    if outcome is None:
        raise ServerStopping("the server stops; the task runs when it is back")
    return _closed(record, outcome)


def _closed(record: TaskRecord, outcome: Outcome) -> TaskRecord:
    """What the row would say, had there been room on the disk to close it."""
    return msgspec.structs.replace(
        record,
        start_mills=outcome.started_mills,
        finish_mills=outcome.finished_mills,
        task_status=outcome.status,
        progress=100 if outcome.status == "finished" else None,
        result=list(outcome.images),
        error=outcome.error or msgspec.UNSET,
        code=outcome.code or msgspec.UNSET,
    )


async def with_results(request: web.Request, record: TaskRecord, *, as_base64: bool) -> TaskRecord:
    """The record with whole URLs, its results as data URLs where they were asked for."""
    whole = absolute(record, base_url(request))
    if not as_base64 or record.result is None:
        return whole
    result = [await _data_url(request, path) for path in record.result]
    return msgspec.structs.replace(whole, result=result)


async def read_picture(request: web.Request, path: str) -> bytes | None:
    """The bytes of a result as they are on disk; None if the file is gone."""
    try:
        return await asyncio.to_thread(request.app[OUTPUTS].read, path)
    except FileNotFoundError:
        return None


async def _data_url(request: web.Request, path: str) -> str:
    """The picture itself; where its file is gone, its URL."""
    data = await read_picture(request, path)
    if data is None:
        return absolute_url(path, base_url(request))
    mime = MIME_TYPES[path.rpartition(".")[2].lower()]
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"
