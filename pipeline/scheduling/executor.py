"""The queue and its workers: tasks go in, and each ends with exactly one terminal event.

``task_queue`` holds the waiting tasks, ``reservations`` their limits, ``dispatch`` the running
tasks, ``pool`` the workers, ``tools`` the image tools.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain

import msgspec

from bus.bus import EventBus
from bus.events import now_ms
from bus.supervision import Backoff, Supervisor, settled
from pipeline.errors import ServerStopping
from pipeline.scheduling.announcer import Announcer
from pipeline.scheduling.dispatch import Dispatcher, Listener
from pipeline.scheduling.engine_protocol import LoadedModel
from pipeline.scheduling.key_limits import KeyLimits
from pipeline.scheduling.pool import WorkerPool, WorkerSource
from pipeline.scheduling.progress import RunningTask, end_line, terminal_event
from pipeline.scheduling.queue import Waiting
from pipeline.scheduling.reservations import Reservations
from pipeline.scheduling.storage import TaskStorage
from pipeline.scheduling.task import Outcome, Task
from pipeline.scheduling.task_queue import TaskQueue
from pipeline.scheduling.tools import TOOL_WAIT_S, ToolRunner
from pipeline.scheduling.worker import (
    DeviceState,
    ToolReply,
    ToolRequest,
    Worker,
    WorkerInfo,
)

log = logging.getLogger(__name__)


class Executor:
    """Owns the queue, the workers and every task until its end. Event loop only.

    Each task that was submitted ends with exactly one terminal event, after its row is closed.
    """

    def __init__(
        self,
        bus: EventBus,
        workers: Sequence[Worker],
        storage: TaskStorage,
        queue_limit: int,
        backoff: Backoff | None = None,
        key_limits: Mapping[str, KeyLimits] | None = None,
    ) -> None:
        """``backoff``: the pauses before a failed worker is started again.

        ``key_limits``: what the tasks of an API key may have, by the key's name.
        """
        self._bus = bus
        self._storage = storage
        self._queue = TaskQueue(self._may_run)
        self._places = Reservations(self._queue, queue_limit, key_limits or {})
        self._ends: dict[str, asyncio.Future[Outcome]] = {}
        self._supervisor = Supervisor(backoff)
        self._pool = WorkerPool(workers, backoff)
        self._dispatcher = Dispatcher(bus, self._queue, self._pool, storage)
        self._tools = ToolRunner(self._pool)
        self._source: WorkerSource | None = None
        self._announcer = Announcer(bus, self._queue, lambda: len(self.running()), self.devices)

    def start(self, source: WorkerSource | None = None) -> None:
        """Start the workers and begin to drain the queue. ``source`` brings more workers."""
        self._source = source
        listener = Listener(
            begun=self._announcer.queue_changed,
            ended=self._end,
            free=self._on_free,
            devices_changed=self._announcer.devices_changed,
            returned=self._put_back,
        )
        self._announcer.devices_changed()
        self._dispatcher.start(self._supervisor, listener)
        if source is not None:
            self._supervisor.keep("workers of the cluster", lambda: source.keep(self._pool))

    @contextmanager
    def reserve(self, key: str = "") -> Iterator[None]:
        """Hold a place in the queue for one task, submitted inside the block or not at all.

        ``key`` is the name of its API key. Lets the caller write the task's row knowing that it
        will be taken. Raises QueueFull, KeyQueueFull or ServerStopping.
        """
        self._check_open()
        with self._places.hold(key):
            yield

    def submit(self, task: Task, row_id: int | None = None) -> None:
        """Queue a task whose row exists; the row's id is its order.

        Raises ServerStopping, which ``reserve`` cannot foresee: the row stays for the next start.
        """
        self._check_open()
        order = self._queue.tasks.next_order if row_id is None else Fraction(row_id)
        order = self._queue.tasks.fair_order(task.delivery.key, order)
        self._enqueue(Waiting(task=task, order=order))
        self._announcer.task_queued(task.task_id)

    def restore(self, entries: Iterable[Waiting]) -> None:
        """Queue what waited when the server stopped. Published as one change for all of them."""
        for entry in entries:
            if entry.priority == 0 and entry.order.denominator == 1:  # nobody moved it
                key = entry.task.delivery.key
                order = self._queue.tasks.fair_order(key, entry.order)
                self._enqueue(msgspec.structs.replace(entry, order=order))
            else:
                self._enqueue(entry)
        self._announcer.queue_changed()

    async def wait(self, task_id: str) -> Outcome:
        """The end of a live task. Raises KeyError if it is unknown or has ended: see its row."""
        return await asyncio.shield(self._ends[task_id])

    async def stop(self, task_id: str | None = None) -> bool:
        """End a task: the running one of each device (of several the first), or the named one in
        whatever state it is.

        A waiting task has ended when this returns, a running one ends at its next step. False if
        there was nothing to end, which asking twice makes normal.
        """
        if task_id is not None and (entry := self._queue.tasks.withdraw(task_id)) is not None:
            self._announcer.queue_changed()
            await self._end(entry.task, Outcome(status="stop", finished_mills=now_ms()))
            return True
        return self._dispatcher.ask(task_id, RunningTask.ask_to_stop)

    def skip(self, task_id: str | None = None) -> bool:
        """End the picture being made of the named task, or of one task a device; of several
        pictures that are made together the first. False if nothing runs."""
        return self._dispatcher.ask(task_id, RunningTask.ask_to_skip)

    def move(self, task_id: str, place: int) -> Waiting | None:
        """Put a waiting task behind ``place`` others; its new entry, None if it does not wait."""
        return self._rearranged(self._queue.tasks.move(task_id, place))

    def prioritise(self, task_id: str, priority: int) -> Waiting | None:
        """Put a waiting task behind all of ``priority``; as ``move``."""
        return self._rearranged(self._queue.tasks.prioritise(task_id, priority))

    def waiting_entry(self, task_id: str) -> Waiting | None:
        """A waiting task with its priority and order; None if it does not wait."""
        return self._queue.tasks.get(task_id)

    def take_back(self, entry: Waiting) -> None:
        """Undo a move that could not be saved: ``entry`` is from before it."""
        self._rearranged(self._queue.tasks.put_back(entry))

    def pause(self) -> None:
        """Begin no more tasks; those that run go on."""
        self._queue.pause()
        self._announcer.queue_changed()

    def resume(self) -> None:
        """Go on with the queue."""
        self._queue.resume()
        self._announcer.queue_changed()

    @property
    def paused(self) -> bool:
        """Does the queue begin no tasks?"""
        return self._queue.paused

    @property
    def queue_limit(self) -> int:
        """How many tasks may wait."""
        return self._places.limit

    @property
    def waiting_count(self) -> int:
        """How many tasks wait."""
        return self._queue.qsize()

    @property
    def queue_revision(self) -> int:
        """Number of the current state of who waits where; see ``QueueChanged``."""
        return self._queue.tasks.revision

    def waiting(self, offset: int = 0, limit: int | None = None) -> tuple[Waiting, ...]:
        """A page of the waiting tasks, in the order they will run; by default all of them."""
        return self._queue.tasks.entries(offset, limit)

    def waiting_task(self, task_id: str) -> Task | None:
        """A waiting task by its id; None if it does not wait."""
        entry = self._queue.tasks.get(task_id)
        return None if entry is None else entry.task

    def position(self, task_id: str) -> int | None:
        """How many tasks run or wait before this one; None unless it waits."""
        place = self._queue.tasks.place(task_id)
        return None if place is None else place + len(self.running())

    def running(self) -> tuple[RunningTask, ...]:
        """The running tasks: one a device, or several that it makes together."""
        return self._dispatcher.running()

    def devices(self) -> tuple[DeviceState, ...]:
        """Each device's state, and that of a source that has brought none."""
        missing = None if self._source is None else self._source.state
        return self._pool.states() if missing is None else (*self._pool.states(), missing)

    def workers(self) -> tuple[WorkerInfo, ...]:
        """Each worker, as operators see it."""
        tasks: dict[str, list[str]] = {}
        for running in self.running():
            tasks.setdefault(running.device, []).append(running.task.task_id)
        return self._pool.describe(tasks)

    def drain(self, worker: str, *, is_draining: bool) -> bool:
        """Let a worker take no more tasks, or take them again; False if there is none such."""
        return self._pool.drain(worker, is_draining)

    def loaded(self) -> tuple[LoadedModel, ...]:
        """The loaded models, device by device."""
        return tuple(
            msgspec.structs.replace(model, device=worker.name)
            for worker in self._pool.workers()
            for model in worker.loaded()
        )

    async def unload(self) -> tuple[str, ...]:
        """Unload every model of every device; the names of those that were loaded.

        A device with a task does so when the task has ended. The next task loads what it needs.
        Goes on when the caller is cancelled. Raises ServerStopping.
        """
        self._check_open()
        calls = [asyncio.wrap_future(worker.release()) for worker in self._pool.workers()]
        names = await asyncio.shield(asyncio.gather(*calls))
        return tuple(chain.from_iterable(names))

    async def run_tool(self, request: ToolRequest, wait_s: float = TOOL_WAIT_S) -> ToolReply:
        """Use an image tool of a device, as ``ToolRunner.run``. Raises ServerStopping as well."""
        self._check_open()
        return await self._tools.run(request, wait_s)

    async def close(self, grace_s: float) -> None:
        """Take no more from the queue; let running tasks end within ``grace_s``, else abort them.

        A task aborted here keeps its open row and runs again after the next start, as do those
        that still wait. Calling it twice is harmless.
        """
        self._dispatcher.closing = True
        await self._supervisor.close()
        await self._dispatcher.close(grace_s)
        if self._source is not None:
            await self._source.close()
        while self._ends:
            _, end = self._ends.popitem()
            end.set_exception(ServerStopping("the server stops; the task runs when it is back"))
            end.exception()  # mostly nobody waits, and asyncio would complain

    def _may_run(self, key: str) -> bool:
        limit = self._places.limits_of(key).running
        return not limit or limit > sum(r.task.delivery.key == key for r in self.running())

    def _check_open(self) -> None:
        if self._dispatcher.closing:
            raise ServerStopping("the server is stopping; send this again when it is back")

    def _on_free(self) -> None:
        self._queue.look_again()
        self._announcer.queue_changed()

    def _put_back(self, waiting: Waiting) -> None:
        """The worker of a running task was lost; the task takes its old place in the queue."""
        self._queue.put_nowait(waiting)
        self._announcer.task_queued(waiting.task.task_id)

    async def _end(self, task: Task, outcome: Outcome) -> None:
        """Close the task's row, then publish its terminal event."""
        closing = asyncio.ensure_future(self._storage.on_ended(task, outcome))
        if (error := await settled(closing)) is not None:  # the task has ended all the same
            log.error("the row of task %s could not be closed", task.task_id, exc_info=error)
        self._bus.publish(terminal_event(outcome), task.task_id)
        end = self._ends.pop(task.task_id, None)
        if end is not None:  # ``close`` may have ended it
            end.set_result(outcome)
        log.info("%s", end_line(task, outcome))

    def _enqueue(self, entry: Waiting) -> None:
        self._ends[entry.task.task_id] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(entry)

    def _rearranged(self, entry: Waiting | None) -> Waiting | None:
        if entry is not None:
            self._announcer.queue_changed()
        return entry
