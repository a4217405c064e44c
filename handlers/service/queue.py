"""The queue as clients see and change it: what runs, what waits where, pause, moves."""

import asyncio
import sqlite3
from collections.abc import Iterable
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from handlers.service.errors import NotFound
from pipeline.scheduling.executor import Executor
from pipeline.scheduling.progress import RunningTask
from pipeline.scheduling.queue import Waiting
from pipeline.scheduling.worker import DeviceState
from storage.queue_state import QueueState

PAGE_SIZE: Final = 200


class WaitingView(msgspec.Struct, frozen=True, kw_only=True):
    """A waiting task; ``position`` counts the tasks that wait or run before it."""

    task_id: str
    position: int
    priority: int
    prompt: str
    image_number: int
    in_queue_mills: int


class RunningView(msgspec.Struct, frozen=True, kw_only=True):
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


class QueueView(msgspec.Struct, frozen=True, kw_only=True):
    """The queue as it stands, in the order it will run."""

    revision: Annotated[int, Meta(description="As in ``queue.changed``.")]
    paused: bool
    limit: Annotated[int, Meta(description="How many tasks may wait.")]
    running: list[RunningView]
    waiting: Annotated[int, Meta(description="How many tasks wait in all.")]
    pending: Annotated[list[WaitingView], Meta(description="A page of the waiting tasks.")]
    positions: Annotated[dict[str, int], Meta(description="Of the waiting ``task_ids``.")]
    devices: Annotated[tuple[DeviceState, ...], Meta(description="As in ``GET /health``.")]


def view_queue(
    executor: Executor, offset: int = 0, limit: int = PAGE_SIZE, task_ids: Iterable[str] = ()
) -> QueueView:
    """The running tasks, a page of the waiting ones, and the positions of ``task_ids``."""
    running = [_running_view(running) for running in executor.running()]
    page = enumerate(executor.waiting(offset, limit), offset + len(running))
    found = {task_id: executor.position(task_id) for task_id in task_ids}
    return QueueView(
        revision=executor.queue_revision,
        paused=executor.paused,
        limit=executor.queue_limit,
        running=running,
        waiting=executor.waiting_count,
        pending=[_waiting_view(entry, position) for position, entry in page],
        positions={task_id: at for task_id, at in found.items() if at is not None},
        devices=executor.devices(),
    )


class QueueControl:
    """Changes the queue so that the change survives a restart. Event loop only."""

    def __init__(self, executor: Executor, state: QueueState) -> None:
        self._executor = executor
        self._state = state

    async def set_paused(self, paused: bool) -> None:
        """Begin no more tasks, or go on. Holds over a restart; idempotent.

        Saved before it takes effect, so that a crash in between loses no pause that was confirmed.
        Completes when the caller is cancelled.
        """
        await asyncio.shield(self._set_paused(paused))

    async def move(self, task_id: str, place: int) -> None:
        """Put a waiting task behind ``place`` others. Raises NotFound if it does not wait."""
        before = self._waiting(task_id)
        await self._save(before, self._executor.move(task_id, place))

    async def prioritise(self, task_id: str, priority: int) -> None:
        """Give a waiting task a priority and the place that goes with it. Raises NotFound."""
        before = self._waiting(task_id)
        await self._save(before, self._executor.prioritise(task_id, priority))

    async def _set_paused(self, paused: bool) -> None:
        await self._state.save_paused(paused)
        if paused != self._executor.paused:
            (self._executor.pause if paused else self._executor.resume)()

    def _waiting(self, task_id: str) -> Waiting:
        entry = self._executor.waiting_entry(task_id)
        if entry is None:
            raise NotFound("no such task waits (any more)")
        return entry

    async def _save(self, before: Waiting, moved: Waiting | None) -> None:
        """Make a move last; where the database does not take it, the move is undone."""
        if moved is None:
            raise NotFound("no such task waits (any more)")
        await asyncio.shield(self._save_or_undo(before, moved))

    async def _save_or_undo(self, before: Waiting, moved: Waiting) -> None:
        try:
            await self._state.save(moved)
        except sqlite3.Error:
            self._executor.take_back(before)
            raise


def _running_view(running: RunningTask) -> RunningView:
    task, snapshot = running.task, running.snapshot
    return RunningView(
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


def _waiting_view(entry: Waiting, position: int) -> WaitingView:
    task = entry.task
    return WaitingView(
        task_id=task.task_id,
        position=position,
        priority=entry.priority,
        prompt=task.params.prompt,
        image_number=task.params.image_number,
        in_queue_mills=task.in_queue_mills,
    )
