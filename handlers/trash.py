"""Deleting one task so that it can be taken back for a while, and what happens after that."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

import msgspec
from aiohttp import web

from bus.events import HistoryDeleted, HistoryRestored, now_ms
from handlers.errors import RequestRefused
from handlers.keys import BUS, HISTORY, OUTPUTS, TRASH
from handlers.respond import json_response
from handlers.task_reply import live_record

log = logging.getLogger(__name__)

UNDO_SECONDS: Final = 60
CHECK_SECONDS: Final = 10.0


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
    """Empty the trash while the application runs. For ``app.cleanup_ctx``, after the parts."""
    watch = asyncio.create_task(_empty_again_and_again(app))
    yield
    watch.cancel()
    with suppress(asyncio.CancelledError):
        await watch


async def _empty_again_and_again(app: web.Application) -> None:
    while True:
        try:
            await empty_trash(app, now_ms())
        except Exception:  # a full disk, say: the next round tries again
            log.exception("deleted tasks could not be removed")
        await asyncio.sleep(CHECK_SECONDS)
