"""The queue and its devices: tasks go in on the event loop, pictures come out on device threads.

``task_queue`` holds what waits, ``dispatch`` what runs, ``tools`` the image tools.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import TypeVar

from bus.bus import EventBus
from bus.events import (
    EventData,
    QueueChanged,
    TaskFailed,
    TaskFinished,
    TaskQueued,
    TaskSkipped,
    TaskStopped,
    now_ms,
)
from pipeline.errors import QueueFull, ServerStopping
from pipeline.scheduling.dispatch import Dispatcher, PictureStore
from pipeline.scheduling.progress import Running
from pipeline.scheduling.queue import Waiting
from pipeline.scheduling.task import HasTools, Outcome, Task
from pipeline.scheduling.task_queue import TaskQueue
from pipeline.scheduling.tools import TOOL_WAIT_S, ToolRunner
from pipeline.scheduling.worker import DeviceState, DeviceWorker, StartDevice

log = logging.getLogger(__name__)

OnEnded = Callable[[Task, Outcome], Awaitable[None]]
"""Commits the final row. Awaited before the terminal event, so a subscriber finds the row."""

T = TypeVar("T")


class Executor:
    """Owns the queue, the workers and every task until its end.

    All methods belong to the event loop. Each task that was submitted ends with exactly one
    terminal event, after its row is closed.
    """

    def __init__(
        self,
        bus: EventBus,
        devices: Mapping[str, StartDevice],
        pictures: PictureStore,
        on_ended: OnEnded,
        queue_limit: int,
    ) -> None:
        self._bus = bus
        self._on_ended = on_ended
        self._queue_limit = queue_limit
        self._reserved = 0
        self._queue = TaskQueue()
        self._ends: dict[str, asyncio.Future[Outcome]] = {}
        workers = [DeviceWorker(name, start) for name, start in devices.items()]
        self._dispatcher = Dispatcher(bus, self._queue, workers, pictures)
        self._tools = ToolRunner(self._dispatcher)

    def start(self) -> None:
        """Begin to load the devices and to drain the queue."""
        self._dispatcher.start(self._publish_positions, self._end, self._publish_counts)

    @contextmanager
    def reserve(self) -> Iterator[None]:
        """Hold a place in the queue for one task, submitted inside the block or not at all.

        Raises QueueFull or ServerStopping. Lets the caller write the task's row knowing that it
        will be taken.
        """
        self._check_open()
        if self._queue.qsize() + self._reserved >= self._queue_limit:
            raise QueueFull(f"{self._queue.qsize()} tasks are already waiting; try again later")
        self._reserved += 1
        try:
            yield
        finally:
            self._reserved -= 1

    def submit(self, task: Task, priority: int = 0) -> None:
        """Put a task, whose row exists, at the end of the line, or of those of its priority.

        Never refuses: see ``reserve``.
        """
        self._ends[task.task_id] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(Waiting(task=task, priority=priority))
        position = self.position(task.task_id) or 0
        self._bus.publish(TaskQueued(position=position), task.task_id)
        self._publish_counts()

    async def wait(self, task_id: str) -> Outcome:
        """The end of a live task. Raises KeyError if it is unknown or has ended: see its row."""
        return await asyncio.shield(self._ends[task_id])

    async def stop(self, task_id: str | None = None) -> bool:
        """End a task: the running one(s), or the named one in whatever state it is.

        A waiting task has ended when this returns, a running one ends at its next step. False if
        there was nothing to end, which asking twice makes normal.
        """
        if task_id is not None and (task := self._queue.line.withdraw(task_id)) is not None:
            await self._end(task, Outcome(status="stop", finished_mills=now_ms()))
            self._publish_positions()
            return True
        return self._dispatcher.ask(task_id, Running.ask_to_stop)

    def skip(self, task_id: str | None = None) -> bool:
        """End the picture being made of the running task(s). False if nothing runs."""
        return self._dispatcher.ask(task_id, Running.ask_to_skip)

    def move(self, task_id: str, place: int) -> bool:
        """Put a waiting task behind ``place`` others. False if it does not wait."""
        return self._rearranged(self._queue.line.move(task_id, place))

    def prioritise(self, task_id: str, priority: int) -> bool:
        """Give a waiting task a priority: higher ones run first. False if it does not wait."""
        return self._rearranged(self._queue.line.prioritise(task_id, priority))

    def pause(self) -> None:
        """Begin no more tasks; those that run go on."""
        self._queue.pause()
        self._publish_counts()

    def resume(self) -> None:
        """Go on with the queue."""
        self._queue.resume()
        self._publish_counts()

    @property
    def paused(self) -> bool:
        """Does the queue begin no tasks?"""
        return self._queue.paused

    @property
    def queue_limit(self) -> int:
        """How many tasks may wait."""
        return self._queue_limit

    def line(self) -> tuple[Waiting, ...]:
        """The tasks that wait with their priorities, in the order they will run."""
        return self._queue.line.entries()

    def pending(self) -> tuple[Task, ...]:
        """The tasks that wait, in the order they will run."""
        return self._queue.waiting()

    def running(self) -> tuple[Running, ...]:
        """The tasks that devices work on, at most one a device."""
        return self._dispatcher.running()

    def position(self, task_id: str) -> int | None:
        """How many tasks run before this one; None unless it waits."""
        for index, task in enumerate(self._queue.waiting()):
            if task.task_id == task_id:
                return index + len(self._dispatcher.running())
        return None

    def devices(self) -> tuple[DeviceState, ...]:
        """Each device's state."""
        return tuple(worker.state for worker in self._dispatcher.workers)

    async def unload(self) -> tuple[str, ...]:
        """Give back every model of every device; the names of those that were loaded.

        A device that is at work does so when its task has ended. The next task loads what it
        needs. Goes on when the caller is cancelled. Raises ServerStopping.
        """
        self._check_open()
        calls = [asyncio.wrap_future(worker.release()) for worker in self._dispatcher.workers]
        names = await asyncio.shield(asyncio.gather(*calls))
        return tuple(chain.from_iterable(names))

    async def run_tool(self, call: Callable[[HasTools], T], wait_s: float = TOOL_WAIT_S) -> T:
        """Let a device do ``call``, as ``ToolRunner.run``. Raises ServerStopping as well."""
        self._check_open()
        return await self._tools.run(call, wait_s)

    async def close(self, grace_s: float) -> None:
        """Take no more from the queue; let running tasks end within ``grace_s``, else abort them.

        A task aborted here keeps its open row and runs again after the next start, as do those
        that still wait. Calling it twice is harmless.
        """
        await self._dispatcher.close(grace_s)
        while self._ends:
            _, end = self._ends.popitem()
            end.set_exception(ServerStopping("the server stops; the task runs when it is back"))
            end.exception()  # mostly nobody waits, and asyncio would complain

    def _check_open(self) -> None:
        if self._dispatcher.closing:
            raise ServerStopping("the server is stopping; send this again when it is back")

    async def _end(self, task: Task, outcome: Outcome) -> None:
        """Close the task's row, then tell everybody, once."""
        try:
            await self._on_ended(task, outcome)
        except Exception:  # a full disk, say: the task has ended all the same
            log.exception("the row of task %s could not be closed", task.task_id)
        self._bus.publish(_terminal_event(outcome), task.task_id)
        end = self._ends.pop(task.task_id, None)
        if end is not None:  # nobody waits any more where the server has stopped meanwhile
            end.set_result(outcome)
        log.info(
            "task %s %s: %d images of %s, %d steps, %.2f s",
            task.task_id,
            outcome.status,
            len(outcome.images),
            task.params.aspect_ratios_selection,
            outcome.steps,
            outcome.seconds,
        )

    def _publish_positions(self) -> None:
        """After the line moved: every waiting task's new place, and the counts."""
        for index, task in enumerate(self._queue.waiting()):
            position = index + len(self._dispatcher.running())
            self._bus.publish(TaskQueued(position=position), task.task_id)
        self._publish_counts()

    def _publish_counts(self) -> None:
        counts = QueueChanged(
            pending=self._queue.qsize(),
            running=len(self._dispatcher.running()),
            paused=self._queue.paused,
        )
        self._bus.publish(counts)

    def _rearranged(self, done: bool) -> bool:
        if done:
            self._publish_positions()
        return done


def _terminal_event(outcome: Outcome) -> EventData:
    match outcome.status:
        case "finished":
            return TaskFinished(images=outcome.images, seconds=outcome.seconds)
        case "stop":
            return TaskStopped(images=outcome.images)
        case "skip":
            return TaskSkipped(images=outcome.images)
        case "failed":
            return TaskFailed(code=outcome.code, error=outcome.error)
