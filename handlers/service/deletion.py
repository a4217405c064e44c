"""Deleting one task so that it can be taken back for a while, and what happens after that."""

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

import msgspec
from aiohttp import web

from bus.events import HistoryDeleted, HistoryRestored, now_ms
from handlers.http.errors import RequestRefused
from handlers.http.respond import json_response
from handlers.keys import BUS, HISTORY, OUTPUTS, RETENTION, SETTINGS, TRASH
from handlers.service.tasks import live_record

log = logging.getLogger(__name__)

UNDO_SECONDS: Final = 60
CHECK_SECONDS: Final = 10.0
ROUNDS_TO_TIDY: Final = 30  # of those checks, between two looks at what is too old


class Deleted(msgspec.Struct, frozen=True):
    """The task is out of the history; until this Unix time in ms it can be restored."""

    task_id: str
    until_mills: int


class Restored(msgspec.Struct, frozen=True):
    """The task is back."""

    task_id: str


async def delete_task(request: web.Request) -> web.Response:
    """Take an ended task out of the history. Its files go when it can no longer be restored."""
    task_id = request.match_info["task_id"]
    if live_record(request, task_id) is not None:
        raise RequestRefused(409, "not_ended", "the task has not ended; stop it first")
    until = now_ms() + UNDO_SECONDS * 1000
    if not await asyncio.shield(request.app[TRASH].throw(task_id, until)):
        raise RequestRefused(404, "not_found", "there is no such task")
    request.app[BUS].publish(HistoryDeleted(task_ids=(task_id,)))
    return json_response(Deleted(task_id, until))


async def restore_task(request: web.Request) -> web.Response:
    """Take a deletion back. One that is there already stays as it is."""
    task_id = request.match_info["task_id"]
    if await asyncio.shield(request.app[TRASH].restore(task_id)):
        request.app[BUS].publish(HistoryRestored(task_ids=(task_id,)))
    elif await request.app[HISTORY].get(task_id) is None:
        raise RequestRefused(404, "not_found", "there is no such task (any more)")
    return json_response(Restored(task_id))


async def empty_trash(app: web.Application, until_ms: int) -> int:
    """Remove for good, files included, what was deleted for until ``until_ms``; how many."""
    removed = 0
    while records := await app[TRASH].empty(until_ms):
        for path in (path for record in records for path in record.result or ()):
            await asyncio.to_thread(app[OUTPUTS].delete, path)
        removed += len(records)
    return removed


async def watch_trash(app: web.Application) -> AsyncIterator[None]:
    """Empty the trash and tidy up while the application runs. For ``app.cleanup_ctx``."""
    watch = asyncio.create_task(_tidy_again_and_again(app))
    yield
    watch.cancel()
    with suppress(asyncio.CancelledError):
        await watch


async def tidy(app: web.Application, at_ms: int) -> int:
    """Delete what the start options say shall not be kept; how many tasks that were."""
    thrown = 0
    while gone := await app[RETENTION].throw(app[SETTINGS].keep, at_ms):
        app[BUS].publish(HistoryDeleted(task_ids=gone))
        await empty_trash(app, at_ms)
        thrown += len(gone)
    return thrown


async def _tidy_again_and_again(app: web.Application) -> None:
    for round_ in itertools.count():
        try:
            await empty_trash(app, now_ms())
            if round_ % ROUNDS_TO_TIDY == 0 and (thrown := await tidy(app, now_ms())):
                log.info("%d old tasks were deleted, as the keep options say", thrown)
        except Exception:  # a full disk, say: the next round tries again
            log.exception("deleted tasks could not be removed")
        await asyncio.sleep(CHECK_SECONDS)
