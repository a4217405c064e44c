"""/v1/queue: the waiting tasks in order, rearranged, paused and resumed."""

import asyncio
from typing import Annotated, Final

import msgspec
from aiohttp import web
from msgspec import Meta

from handlers.http.operation import Operation, Payload
from handlers.http.respond import json_response
from handlers.keys import EXECUTOR, QUEUE_STATE
from handlers.service.errors import NotFound
from pipeline.scheduling.executor import Executor
from pipeline.scheduling.progress import RunningTask
from pipeline.scheduling.queue import MAX_PRIORITY, MIN_PRIORITY, Waiting
from pipeline.scheduling.worker import DeviceState

LAST_PLACE: Final = 10**6
PAGE_SIZE: Final = 200
PAGE_SIZE_LIMIT: Final = 1000
IDS_LIMIT: Final = 200  # task ids whose positions may be asked for at once
_IDS_LENGTH: Final = IDS_LIMIT * 40


class WaitingTask(msgspec.Struct, frozen=True, kw_only=True):
    """A waiting task; ``position`` counts the tasks that wait or run before it."""

    task_id: str
    position: int
    priority: int
    prompt: str
    image_number: int
    in_queue_mills: int


class TaskAtWork(msgspec.Struct, frozen=True, kw_only=True):
    """A task on a device, as of now."""

    task_id: str
    device: str
    progress: int
    message: str
    prompt: str
    image_number: int
    in_queue_mills: int
    start_mills: int
    preview: Annotated[str, Meta(description='The newest preview as a data URL, or "".')]
    images: tuple[str, ...]


class QueueReply(msgspec.Struct, frozen=True, kw_only=True):
    """The queue as it stands, in the order it will run."""

    revision: Annotated[int, Meta(description="As in ``queue.changed``.")]
    paused: bool
    limit: Annotated[int, Meta(description="How many tasks may wait.")]
    running: list[TaskAtWork]
    waiting: Annotated[int, Meta(description="How many tasks wait in all.")]
    pending: Annotated[list[WaitingTask], Meta(description="A page of the waiting tasks.")]
    positions: Annotated[dict[str, int], Meta(description="Of the waiting ``task_ids``.")]
    devices: Annotated[tuple[DeviceState, ...], Meta(description="As in ``GET /health``.")]


class QueueQuery(msgspec.Struct, kw_only=True):
    """Query of GET /v1/queue."""

    offset: Annotated[
        int, Meta(ge=0, le=LAST_PLACE, description="How many waiting tasks to leave out.")
    ] = 0
    limit: Annotated[
        int, Meta(ge=0, le=PAGE_SIZE_LIMIT, description="At most so many waiting tasks.")
    ] = PAGE_SIZE
    task_ids: Annotated[
        str,
        Meta(
            max_length=_IDS_LENGTH,
            description="Ids with commas, for ``positions``.",
        ),
    ] = ""


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
    reply=Payload(type=QueueReply),
    errors=(401, 403, 422),
)
async def show_queue(request: web.Request, query: QueueQuery) -> web.Response:
    """What runs, a page of what waits, and whether the queue is paused."""
    task_ids = query.task_ids.split(",")
    return _reply(request.app[EXECUTOR], query.offset, query.limit, task_ids)


@Operation(
    name="pause_queue",
    tag="queue",
    summary="Begin no more tasks; what runs goes on",
    description="Holds over a restart of the server, until it is resumed.",
    reply=Payload(type=QueueReply),
)
async def pause(request: web.Request) -> web.Response:
    """Begin no more tasks; what runs goes on. Holds over a restart. Idempotent.

    Saved before it takes effect, so that a crash in between loses no pause that was confirmed.
    """
    return await asyncio.shield(_switch(request, paused=True))


@Operation(
    name="resume_queue",
    tag="queue",
    summary="Go on with a paused queue",
    reply=Payload(type=QueueReply),
)
async def resume(request: web.Request) -> web.Response:
    """Go on with the queue. Idempotent."""
    return await asyncio.shield(_switch(request, paused=False))


@Operation(
    name="move_task",
    tag="queue",
    summary="Put a waiting task at another place in the queue",
    description="It takes on the priority that its new neighbours ask for.",
    reply=Payload(type=QueueReply),
    errors=(401, 403, 404, 422),
)
async def move(request: web.Request, query: MoveQuery) -> web.Response:
    """Put a waiting task at a place in the queue, from 0."""
    return await _save(request, request.app[EXECUTOR].move(query.task_id, query.place))


@Operation(
    name="prioritise_task",
    tag="queue",
    summary="Give a waiting task a priority; it goes behind those of the same",
    reply=Payload(type=QueueReply),
    errors=(401, 403, 404, 422),
)
async def prioritise(request: web.Request, query: PriorityQuery) -> web.Response:
    """Give a waiting task a priority and the place that goes with it."""
    return await _save(request, request.app[EXECUTOR].prioritise(query.task_id, query.priority))


async def _switch(request: web.Request, *, paused: bool) -> web.Response:
    executor = request.app[EXECUTOR]
    await request.app[QUEUE_STATE].save_paused(paused)
    if paused != executor.paused:
        (executor.pause if paused else executor.resume)()
    return _reply(executor)


async def _save(request: web.Request, moved: Waiting | None) -> web.Response:
    if moved is None:
        raise NotFound("no such task waits (any more)")
    await asyncio.shield(request.app[QUEUE_STATE].save(moved))
    return _reply(request.app[EXECUTOR])


def _reply(
    executor: Executor, offset: int = 0, limit: int = PAGE_SIZE, task_ids: list[str] | None = None
) -> web.Response:
    running = executor.running()
    first = offset + len(running)
    page = executor.waiting(offset, limit)
    found = {task_id: executor.position(task_id) for task_id in (task_ids or [])[:IDS_LIMIT]}
    reply = QueueReply(
        revision=executor.queue_revision,
        paused=executor.paused,
        limit=executor.queue_limit,
        running=[_at_work(each) for each in running],
        waiting=executor.waiting_count,
        pending=[_waiting(entry, first + index) for index, entry in enumerate(page)],
        positions={task_id: at for task_id, at in found.items() if at is not None},
        devices=executor.devices(),
    )
    return json_response(reply, headers={"Cache-Control": "no-store"})


def _at_work(running: RunningTask) -> TaskAtWork:
    task, snapshot = running.task, running.snapshot
    return TaskAtWork(
        task_id=task.task_id,
        device=running.device,
        progress=snapshot.progress,
        message=snapshot.message,
        prompt=task.params.prompt,
        image_number=task.params.image_number,
        in_queue_mills=task.in_queue_mills,
        start_mills=running.started_mills,
        preview=snapshot.preview,
        images=snapshot.images,
    )


def _waiting(entry: Waiting, position: int) -> WaitingTask:
    return WaitingTask(
        task_id=entry.task.task_id,
        position=position,
        priority=entry.priority,
        prompt=entry.task.params.prompt,
        image_number=entry.task.params.image_number,
        in_queue_mills=entry.task.in_queue_mills,
    )
