"""/v1/queue: the waiting tasks in order, rearranged, paused and resumed."""

from typing import Annotated, Final

import msgspec
from aiohttp import web
from msgspec import Meta

from handlers.http.operation import Operation, Payload
from handlers.http.respond import json_response
from handlers.keys import EXECUTOR
from handlers.service.queue import PAGE_SIZE, QueueView, view_queue
from handlers.service_keys import QUEUE
from pipeline.scheduling.queue import MAX_PRIORITY, MIN_PRIORITY

LAST_PLACE: Final = 10**6
PAGE_SIZE_LIMIT: Final = 1000
IDS_LIMIT: Final = 200  # task ids whose positions may be asked for at once


class QueueQuery(msgspec.Struct, kw_only=True):
    """Query of GET /v1/queue."""

    offset: Annotated[
        int, Meta(ge=0, le=LAST_PLACE, description="How many waiting tasks to leave out.")
    ] = 0
    limit: Annotated[
        int, Meta(ge=0, le=PAGE_SIZE_LIMIT, description="At most so many waiting tasks.")
    ] = PAGE_SIZE
    task_ids: Annotated[
        tuple[str, ...], Meta(description="Ids for ``positions``, repeated or with commas.")
    ] = ()


class MoveQuery(msgspec.Struct, kw_only=True):
    """Query of POST /v1/queue/move."""

    task_id: Annotated[str, Meta(description="A task that waits.")] = ""
    place: Annotated[
        int, Meta(ge=0, le=LAST_PLACE, description="How many waiting tasks stand before it.")
    ]


class PriorityQuery(msgspec.Struct, kw_only=True):
    """Query of POST /v1/queue/priority."""

    task_id: Annotated[str, Meta(description="A task that waits.")] = ""
    priority: Annotated[
        int, Meta(ge=MIN_PRIORITY, le=MAX_PRIORITY, description="Higher ones run first.")
    ]


@Operation(
    name="queue",
    tag="queue",
    summary="What runs and what waits, in order, and whether the queue is paused",
    reply=Payload(type=QueueView),
    errors=(401, 403, 422),
)
async def show_queue(request: web.Request, query: QueueQuery) -> web.Response:
    """What runs, a page of what waits, and whether the queue is paused."""
    task_ids = query.task_ids[:IDS_LIMIT]
    return _response(view_queue(request.app[EXECUTOR], query.offset, query.limit, task_ids))


@Operation(
    name="pause_queue",
    tag="queue",
    summary="Begin no more tasks; what runs goes on",
    description="Holds over a restart of the server, until it is resumed.",
    reply=Payload(type=QueueView),
)
async def pause(request: web.Request) -> web.Response:
    """Begin no more tasks; what runs goes on. Idempotent."""
    await request.app[QUEUE].set_paused(True)
    return _response(view_queue(request.app[EXECUTOR]))


@Operation(
    name="resume_queue",
    tag="queue",
    summary="Go on with a paused queue",
    reply=Payload(type=QueueView),
)
async def resume(request: web.Request) -> web.Response:
    """Go on with the queue. Idempotent."""
    await request.app[QUEUE].set_paused(False)
    return _response(view_queue(request.app[EXECUTOR]))


@Operation(
    name="move_task",
    tag="queue",
    summary="Put a waiting task at another place in the queue",
    description="It takes on the priority that its new neighbours ask for.",
    reply=Payload(type=QueueView),
    errors=(401, 403, 404, 422, 503, 507),
)
async def move(request: web.Request, query: MoveQuery) -> web.Response:
    """Put a waiting task at a place in the queue, from 0."""
    await request.app[QUEUE].move(query.task_id, query.place)
    return _response(view_queue(request.app[EXECUTOR]))


@Operation(
    name="prioritise_task",
    tag="queue",
    summary="Give a waiting task a priority; it goes behind those of the same",
    reply=Payload(type=QueueView),
    errors=(401, 403, 404, 422, 503, 507),
)
async def prioritise(request: web.Request, query: PriorityQuery) -> web.Response:
    """Give a waiting task a priority and the place that goes with it."""
    await request.app[QUEUE].prioritise(query.task_id, query.priority)
    return _response(view_queue(request.app[EXECUTOR]))


def _response(view: QueueView) -> web.Response:
    return json_response(view, headers={"Cache-Control": "no-store"})
