"""The queue and its devices: tasks go in on the event loop, pictures come out on device threads.

The only module of the picture side that knows asyncio.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from bus.bus import EventBus
from bus.events import (
    EventData,
    QueueChanged,
    TaskFailed,
    TaskFinished,
    TaskQueued,
    TaskSkipped,
    TaskStarted,
    TaskStopped,
    now_ms,
)
from pipeline.errors import DeviceBusy, QueueFull, ServerStopping
from pipeline.scheduling.progress import Running
from pipeline.scheduling.queue import Line, Waiting
from pipeline.scheduling.task import HasTools, MadeImage, Outcome, Task
from pipeline.scheduling.worker import DeviceState, DeviceWorker, StartDevice

log = logging.getLogger(__name__)

OnEnded = Callable[[Task, Outcome], Awaitable[None]]
"""Closes the task's row. Awaited before anybody is told, so that who hears it finds it there."""

T = TypeVar("T")

TOOL_WAIT_S: Final = 300.0  # for a device to come round to a tool
TOOL_LIMIT: Final = 16  # tools that may wait, each with its picture in memory
ABORT_GRACE_S: Final = 2.0  # of the time to shut down, what an aborted step may still take


class PictureStore(Protocol):
    """Where finished pictures go. Called on device and worker threads, never on the loop."""

    def save(self, made: MadeImage) -> str:
        """Write a picture; its path, such as ``/outputs/2026-11-23/….png``. Raises SavingFailed."""

    def delete(self, path: str) -> None:
        """Remove a picture that ``save`` wrote; nothing happens if it is gone."""


class TaskQueue(asyncio.Queue[Waiting]):
    """An ``asyncio.Queue`` whose order people may change, and which they may pause.

    Owned by the event loop. Its storage is replaced through the hooks that asyncio's own
    PriorityQueue and LifoQueue use. Paused, it says that it is empty to those who want to take.
    """

    line: Line
    paused = False

    def _init(self, maxsize: int) -> None:  # noqa: ARG002 - asyncio passes it
        self.line = Line()

    def _put(self, item: Waiting) -> None:
        self.line.add(item.task, item.priority)

    def _get(self) -> Waiting:
        return Waiting(task=self.line.take())

    def qsize(self) -> int:
        """How many tasks wait."""
        return len(self.line)

    def empty(self) -> bool:
        """Is there nothing to take?"""
        return self.paused or not len(self.line)

    def resume(self) -> None:
        """Wake those who want to take, one for each task that waits."""
        self.paused = False
        for _ in range(len(self.line)):
            self._wakeup_next(self._getters)

    def waiting(self) -> tuple[Task, ...]:
        """What waits, in the order it will run."""
        return tuple(entry.task for entry in self.line.entries())

    if TYPE_CHECKING:  # asyncio.Queue's own, which the type stubs leave out
        _getters: deque[asyncio.Future[None]]

        def _wakeup_next(self, waiters: deque[asyncio.Future[None]]) -> None: ...


class Executor:
    """Owns the queue, one dispatcher and one thread a device, and every task until its end.

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
        self._pictures = pictures
        self._on_ended = on_ended
        self._queue_limit = queue_limit
        self._reserved = 0
        self._tools = 0
        self._queue = TaskQueue()
        self._running: dict[str, Running] = {}
        self._ends: dict[str, asyncio.Future[Outcome]] = {}
        self._workers = {name: DeviceWorker(name, start) for name, start in devices.items()}
        self._dispatchers: dict[str, asyncio.Task[None]] = {}
        self._closing = asyncio.Event()
        self._aborted: set[str] = set()

    def start(self) -> None:
        """Begin to load the devices and to drain the queue."""
        self._dispatchers = {
            name: asyncio.create_task(self._dispatch(worker), name=f"dispatch-{name}")
            for name, worker in self._workers.items()
        }

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
        return self._ask(task_id, Running.ask_to_stop)

    def skip(self, task_id: str | None = None) -> bool:
        """End the picture being made of the running task(s). False if nothing runs."""
        return self._ask(task_id, Running.ask_to_skip)

    def move(self, task_id: str, place: int) -> bool:
        """Put a waiting task behind ``place`` others. False if it does not wait."""
        return self._rearranged(self._queue.line.move(task_id, place))

    def prioritise(self, task_id: str, priority: int) -> bool:
        """Give a waiting task a priority: higher ones run first. False if it does not wait."""
        return self._rearranged(self._queue.line.prioritise(task_id, priority))

    def pause(self) -> None:
        """Begin no more tasks; those that run go on."""
        self._queue.paused = True
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
        return tuple(self._running.values())

    def position(self, task_id: str) -> int | None:
        """How many tasks run before this one; None unless it waits."""
        for index, task in enumerate(self._queue.waiting()):
            if task.task_id == task_id:
                return index + len(self._running)
        return None

    def devices(self) -> tuple[DeviceState, ...]:
        """Each device's state."""
        return tuple(worker.state for worker in self._workers.values())

    async def unload(self) -> tuple[str, ...]:
        """Give back every model of every device; the names of those that were loaded.

        A device that is at work does so when its task has ended. The next task loads what it
        needs. Goes on when the caller is cancelled. Raises ServerStopping.
        """
        self._check_open()
        calls = [asyncio.wrap_future(worker.release()) for worker in self._workers.values()]
        names = await asyncio.shield(asyncio.gather(*calls))
        return tuple(chain.from_iterable(names))

    async def run_tool(self, call: Callable[[HasTools], T], wait_s: float = TOOL_WAIT_S) -> T:
        """Let a device do ``call`` before its next task; the result, or what it raises.

        It waits ``wait_s`` at most for its turn: a device that starts or is at work ends that
        first. Cancelled before its turn, it is called off. Raises ServerStopping, DeviceBusy (at
        once where many wait already), and UnsupportedFeature if the device has no tools.
        """
        self._check_open()
        if self._tools >= TOOL_LIMIT:
            raise DeviceBusy(f"{self._tools} pictures wait for the tools already; try again later")
        turn = self._worker_for_tool().use_tool(call)
        result = asyncio.wrap_future(turn)
        self._tools += 1
        try:
            done, _ = await asyncio.wait({result}, timeout=wait_s)
            if not done and turn.cancel():
                raise DeviceBusy(f"the device was at work for {wait_s:g} s; try again later")
            return await result
        finally:
            self._tools -= 1
            result.cancel()

    async def close(self, grace_s: float) -> None:
        """Take no more from the queue; let running tasks end within ``grace_s``, else abort them.

        A task aborted here keeps its open row and runs again after the next start, as do those
        that still wait. Calling it twice is harmless.
        """
        self._closing.set()
        at_work = {running.device for running in self._running.values()}
        for device, dispatcher in self._dispatchers.items():
            if device not in at_work:
                dispatcher.cancel()
        await self._join(grace_s - ABORT_GRACE_S)
        self._aborted = {r.task.task_id for r in self._running.values() if not r.stop_requested}
        for running in self._running.values():
            running.ask_to_stop()
        await self._join(ABORT_GRACE_S)
        for dispatcher in self._dispatchers.values():
            dispatcher.cancel()
        await asyncio.gather(*self._dispatchers.values(), return_exceptions=True)
        for worker in self._workers.values():
            worker.close()
        while self._ends:
            _, end = self._ends.popitem()
            end.set_exception(ServerStopping("the server stops; the task runs when it is back"))
            end.exception()  # mostly nobody waits, and asyncio would complain

    def _check_open(self) -> None:
        if self._closing.is_set():
            raise ServerStopping("the server is stopping; send this again when it is back")

    async def _join(self, seconds: float) -> None:
        if self._dispatchers:
            await asyncio.wait(self._dispatchers.values(), timeout=max(0.0, seconds))

    def _ask(self, task_id: str | None, ask: Callable[[Running], None]) -> bool:
        asked = [r for r in self._running.values() if task_id in {None, r.task.task_id}]
        for running in asked:
            ask(running)
        return bool(asked)

    async def _dispatch(self, worker: DeviceWorker) -> None:
        """Hand one task after another to the device's thread, for as long as the server runs."""
        await asyncio.wrap_future(worker.start())
        while not self._closing.is_set():
            task = (await self._queue.get()).task
            running = Running(task, worker.name, self._bus.publish, self._pictures.save)
            self._running[task.task_id] = running
            self._bus.publish(TaskStarted(device=worker.name), task.task_id)
            self._publish_positions()
            outcome = running.outcome(await asyncio.wrap_future(worker.make(running)))
            if outcome.status == "stop" and task.task_id in self._aborted:
                await asyncio.to_thread(self._discard, outcome.images)  # they will be made anew
            else:
                await self._end(task, outcome)
            del self._running[task.task_id]
            self._publish_counts()

    def _worker_for_tool(self) -> DeviceWorker:
        """One that is not at work, if there is any, and of those one that has not failed."""
        at_work = {running.device for running in self._running.values()}
        return min(
            self._workers.values(), key=lambda w: (w.name in at_work, w.state.state == "failed")
        )

    def _discard(self, images: tuple[str, ...]) -> None:
        for image in images:
            self._pictures.delete(image)

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
            position = index + len(self._running)
            self._bus.publish(TaskQueued(position=position), task.task_id)
        self._publish_counts()

    def _publish_counts(self) -> None:
        counts = QueueChanged(
            pending=self._queue.qsize(), running=len(self._running), paused=self._queue.paused
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
