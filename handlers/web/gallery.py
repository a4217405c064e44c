"""/v1/history: ended tasks as cards, searched and counted; favourites."""

import asyncio
from typing import Annotated, Final, Literal

import msgspec
from aiohttp import web
from msgspec import Meta

from bus.events import TaskMarked
from handlers.http.operation import Operation, Payload
from handlers.http.query import EndTime, StartTime
from handlers.http.respond import json_response
from handlers.keys import BUS, GALLERY, HISTORY
from handlers.service.errors import NotFound
from storage.gallery import Card, CardFilter, Summary

PAGE_SIZE: Final = 60
PAGE_SIZE_LIMIT: Final = 500
OFFSET_LIMIT: Final = 10**9
SEARCH_LIMIT: Final = 500
NAME_LIMIT: Final = 100  # characters of a board's name


class HistoryQuery(msgspec.Struct, kw_only=True):
    """The query of the history."""

    search: Annotated[
        str, Meta(max_length=SEARCH_LIMIT, description="Every word must stand in the prompt.")
    ] = ""
    status: Annotated[str, Meta(max_length=255, description="finished, failed, stop or skip.")] = ""
    model: Annotated[str, Meta(max_length=512, description="Name of the base model.")] = ""
    favourite: Annotated[bool, Meta(description="1: favourites only.")] = False
    board: Annotated[str, Meta(max_length=NAME_LIMIT, description="Name of a board.")] = ""
    hide_failed: Annotated[bool, Meta(description="1: without failed tasks.")] = False
    order: Annotated[
        Literal["newest", "oldest"], Meta(description="Which end of the history comes first.")
    ] = "newest"
    by: Annotated[Literal["task", "picture"], Meta(description="What a card stands for.")] = "task"
    start_at: (
        Annotated[StartTime, Meta(description="ISO 8601; local time without a zone.")] | None
    ) = None
    end_at: Annotated[EndTime, Meta(description="ISO 8601; local time without a zone.")] | None = (
        None
    )
    offset: Annotated[
        int, Meta(ge=0, le=OFFSET_LIMIT, description="How many to leave out before these.")
    ] = 0
    limit: Annotated[
        int, Meta(ge=0, le=PAGE_SIZE_LIMIT, description="At most so many; 0 only counts.")
    ] = PAGE_SIZE


class MarkQuery(msgspec.Struct, kw_only=True):
    """The query of a mark."""

    on: Annotated[bool, Meta(description="0 takes the mark away.")] = True


class HistoryReply(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of the chosen tasks or pictures; ``total`` counts all that are chosen."""

    total: int
    offset: int
    items: list[Card]


class Marked(msgspec.Struct, frozen=True):
    """Whether the task is a favourite now."""

    favourite: bool


@Operation(
    name="history",
    tag="history",
    summary="Ended tasks, or their pictures, as small cards, searched, filtered and sorted",
    reply=Payload(type=HistoryReply),
    errors=(401, 403, 422),
)
async def list_history(request: web.Request, query: HistoryQuery) -> web.Response:
    """Ended tasks by prompt text, status, model, time and mark."""
    chosen = CardFilter(
        search=query.search,
        status=query.status,
        model=query.model,
        favourite=query.favourite,
        board=query.board,
        hide_failed=query.hide_failed,
        start_ms=query.start_at,
        end_ms=query.end_at,
    )
    gallery = request.app[GALLERY]
    if query.by == "picture":
        page, total = gallery.pictures, await gallery.count_pictures(chosen)
    else:
        page, total = gallery.page, await gallery.count(chosen)
    start, end = query.offset, min(total, query.offset + query.limit)
    if query.order == "oldest":  # the same stretch, counted from the other end
        start, end = max(0, total - end), total - start
    items = await page(chosen, start, end - start) if start < end else []
    if query.order == "oldest":
        items.reverse()
    reply = HistoryReply(total=total, offset=query.offset, items=items)
    return json_response(reply, headers={"Cache-Control": "no-store"})


@Operation(
    name="history_summary",
    tag="history",
    summary="How many ended tasks there are, by status and by model",
    reply=Payload(type=Summary),
)
async def history_summary(request: web.Request) -> web.Response:
    """The history's tasks, counted by status and by model."""
    return json_response(await request.app[GALLERY].summary())


@Operation(
    name="mark_task",
    tag="history",
    summary="Make an ended task a favourite, or no longer one",
    reply=Payload(type=Marked),
    errors=(401, 403, 404, 422, 503, 507),
)
async def mark(request: web.Request, query: MarkQuery) -> web.Response:
    """Make an ended task a favourite, or with ``on=0`` no longer one. Idempotent."""
    task_id = request.match_info["task_id"]
    record = await request.app[HISTORY].get(task_id)
    if record is None or record.task_status is None:
        raise NotFound("no such task has ended")
    if await asyncio.shield(request.app[GALLERY].mark(task_id, favourite=query.on)):
        request.app[BUS].publish(TaskMarked(favourite=query.on), task_id)
    return json_response(Marked(query.on))
