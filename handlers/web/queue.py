"""/v1/queue: the line of waiting tasks, rearranged, paused and resumed."""

import asyncio
from typing import Annotated, Final

import msgspec
from aiohttp import web
from msgspec import Meta

from handlers.http.errors import RequestRefused
from handlers.http.query import whole_number
from handlers.http.respond import json_response
from handlers.keys import EXECUTOR, QUEUE_STATE
from pipeline.scheduling.queue import MAX_PRIORITY, MIN_PRIORITY

LAST_PLACE: Final = 10**6


class WaitingTask(msgspec.Struct, frozen=True, kw_only=True):
    """A task that waits; ``position`` counts the tasks before it, those that run included."""

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

    paused: bool
    limit: Annotated[int, Meta(description="How many tasks may wait.")]
    running: list[TaskAtWork]
    pending: list[WaitingTask]


async def show_queue(request: web.Request) -> web.Response:
    """What runs, what waits in which order, and whether the queue is paused."""
    return _reply(request)


async def pause(request: web.Request) -> web.Response:
    """Begin no more tasks; what runs goes on. Holds over a restart. Asking again changes nothing.

    Saved first, so that a crash in between leaves nobody believing otherwise.
    """
    return await asyncio.shield(_switch(request, paused=True))


async def resume(request: web.Request) -> web.Response:
    """Go on with the queue. Asking again changes nothing."""
    return await asyncio.shield(_switch(request, paused=False))


async def move(request: web.Request) -> web.Response:
    """Put a waiting task at a place in the line, from 0."""
    place = whole_number(request.query, "place", bounds=(0, LAST_PLACE))
    task_id = request.query.get("task_id", "")
    return await _rearranged(request, request.app[EXECUTOR].move(task_id, place))


async def prioritise(request: web.Request) -> web.Response:
    """Give a waiting task a priority and the place that goes with it."""
    priority = whole_number(request.query, "priority", bounds=(MIN_PRIORITY, MAX_PRIORITY))
    task_id = request.query.get("task_id", "")
    return await _rearranged(request, request.app[EXECUTOR].prioritise(task_id, priority))


async def _switch(request: web.Request, *, paused: bool) -> web.Response:
    executor = request.app[EXECUTOR]
    await request.app[QUEUE_STATE].save_paused(paused)
    if paused != executor.paused:
        (executor.pause if paused else executor.resume)()
    return _reply(request)


async def _rearranged(request: web.Request, done: bool) -> web.Response:
    if not done:
        raise RequestRefused(404, "not_found", "no such task waits (any more)")
    await asyncio.shield(request.app[QUEUE_STATE].save_line(request.app[EXECUTOR].line()))
    return _reply(request)


def _reply(request: web.Request) -> web.Response:
    executor = request.app[EXECUTOR]
    running = [
        TaskAtWork(
            task_id=at_work.task.task_id,
            device=at_work.device,
            progress=at_work.snapshot.progress,
            message=at_work.snapshot.message,
            prompt=at_work.task.params.prompt,
            image_number=at_work.task.params.image_number,
            in_queue_mills=at_work.task.in_queue_mills,
            start_mills=at_work.started_mills,
            preview=at_work.snapshot.preview,
            images=at_work.snapshot.images,
        )
        for at_work in executor.running()
    ]
    pending = [
        WaitingTask(
            task_id=waiting.task.task_id,
            position=index + len(running),
            priority=waiting.priority,
            prompt=waiting.task.params.prompt,
            image_number=waiting.task.params.image_number,
            in_queue_mills=waiting.task.in_queue_mills,
        )
        for index, waiting in enumerate(executor.line())
    ]
    reply = QueueReply(
        paused=executor.paused, limit=executor.queue_limit, running=running, pending=pending
    )
    return json_response(reply, headers={"Cache-Control": "no-store"})
