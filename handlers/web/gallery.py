"""/v1/history: ended tasks as cards, searched and counted; favourites."""

import asyncio
from typing import Final

import msgspec
from aiohttp import web

from bus.events import TaskMarked
from handlers.http.errors import RequestRefused
from handlers.http.query import read_range, switch, text_value, whole_number
from handlers.http.respond import json_response
from handlers.keys import BUS, GALLERY, HISTORY
from storage.gallery import Card, CardFilter

PAGE_SIZE: Final = 60
PAGE_SIZE_LIMIT: Final = 500
OFFSET_LIMIT: Final = 10**9
SEARCH_LIMIT: Final = 500


class HistoryReply(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of the chosen tasks, newest first; ``total`` counts all that are chosen."""

    total: int
    offset: int
    items: list[Card]


class Marked(msgspec.Struct, frozen=True):
    """Whether the task is a favourite now."""

    favourite: bool


async def list_history(request: web.Request) -> web.Response:
    """Ended tasks by prompt text, status, model, time and mark."""
    query = request.query
    offset = whole_number(query, "offset", bounds=(0, OFFSET_LIMIT), default=0)
    limit = whole_number(query, "limit", bounds=(0, PAGE_SIZE_LIMIT), default=PAGE_SIZE)
    start_ms, end_ms = read_range(query)
    chosen = CardFilter(
        search=text_value(query, "search", SEARCH_LIMIT),
        status=text_value(query, "status", 255),
        model=text_value(query, "model", 512),
        favourite=switch(query, "favourite"),
        start_ms=start_ms,
        end_ms=end_ms,
    )
    gallery = request.app[GALLERY]
    items = await gallery.page(chosen, offset, limit) if limit else []
    reply = HistoryReply(total=await gallery.count(chosen), offset=offset, items=items)
    return json_response(reply, headers={"Cache-Control": "no-store"})


async def history_summary(request: web.Request) -> web.Response:
    """What the history holds, counted by status and by model."""
    return json_response(await request.app[GALLERY].summary())


async def mark(request: web.Request) -> web.Response:
    """Make an ended task a favourite, or with ``on=0`` no longer one. Idempotent."""
    task_id = request.match_info["task_id"]
    wanted = switch(request.query, "on", default=True)
    record = await request.app[HISTORY].get(task_id)
    if record is None or record.task_status is None:
        raise RequestRefused(404, "not_found", "no such task has ended")
    if await asyncio.shield(request.app[GALLERY].mark(task_id, favourite=wanted)):
        request.app[BUS].publish(TaskMarked(favourite=wanted), task_id)
    return json_response(Marked(wanted))
