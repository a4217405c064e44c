"""The workers: which are ready and free, and the restart of those that failed."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, Protocol

from bus.supervision import Backoff, Supervisor
from pipeline.errors import DeviceBusy
from pipeline.scheduling.worker import DeviceState, RunsElsewhere, Worker, WorkerInfo
from pipeline.scheduling.worker_events import Sink, WorkerEvent, WorkerFailed

log = logging.getLogger(__name__)

CHECKPOINT: Final = "checkpoint"  # the kind of model whose change takes seconds


class _Slot:
    """One worker and what it is used for."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.is_taken = False  # by a task
        self.tools = 0  # tool calls that it has
        self.failures = 0  # in a row
        self.failures_in_all = 0
        self.pictures = 0
        self.is_draining = False
        self.failed = asyncio.Event()

    @property
    def is_ready(self) -> bool:
        return self.worker.state.state == "ready"

    @property
    def is_free(self) -> bool:
        return self.is_ready and not self.is_taken and not self.is_draining

    def has_loaded(self, checkpoint: str) -> bool:
        return any(
            model.kind == CHECKPOINT and model.name == checkpoint for model in self.worker.loaded()
        )


class WorkerSource(Protocol):
    """Brings workers into the pool while the server runs."""

    @property
    def state(self) -> DeviceState | None:
        """What keeps it from bringing any; None while it has."""

    async def keep(self, pool: "WorkerPool") -> None:
        """Add and remove workers until cancelled."""

    async def close(self) -> None:
        """End what the workers ran on; bounded in time."""


class WorkerPool:
    """Hands out ready workers, each to one task or to some that share it. Event loop only.

    A worker that did not start, or failed later, is given to nobody and is started again after a
    pause that grows with each failure in a row. A use that leaves its worker ready ends the row.
    """

    def __init__(self, workers: Sequence[Worker], backoff: Backoff | None = None) -> None:
        self._slots = {worker.name: _Slot(worker) for worker in workers}
        self._backoff = backoff or Backoff()
        self._changed = asyncio.Event()
        self._on_state: Callable[[], None] = lambda: None
        self._supervisor: Supervisor | None = None
        self._sink_of: Callable[[str], Sink] = lambda _name: _nowhere

    def keep_running(
        self, supervisor: Supervisor, sink_of: Callable[[str], Sink], on_state: Callable[[], None]
    ) -> None:
        """Start every worker, and keep them running for as long as ``supervisor`` does.

        ``sink_of`` makes the receiver of a worker's events that belong to no task; ``on_state``
        is called after a worker has started or failed.
        """
        self._on_state, self._supervisor, self._sink_of = on_state, supervisor, sink_of
        for slot in self._slots.values():
            self._keep_slot(slot)

    def add(self, worker: Worker) -> None:
        """Start one more worker, whose name no other has, and keep it running."""
        slot = self._slots[worker.name] = _Slot(worker)
        self._keep_slot(slot)
        self.tell_state()

    def remove(self, worker: Worker) -> None:
        """Close a worker that will not come back. A task that it has ends as the worker says."""
        if self._slot_of(worker) is None:
            return
        del self._slots[worker.name]
        if self._supervisor is not None:
            self._supervisor.drop(_work_name(worker))
        worker.close()
        self.tell_state()

    def workers(self) -> tuple[Worker, ...]:
        """All workers, in the order they were given."""
        return tuple(slot.worker for slot in self._slots.values())

    def states(self) -> tuple[DeviceState, ...]:
        """The state of each worker."""
        return tuple(slot.worker.state for slot in self._slots.values())

    async def wait_for_free(self) -> None:
        """Wait until a worker is ready and has no task."""
        while self._free() is None:
            self._changed.clear()
            await self._changed.wait()

    def take(self, checkpoint: str = "") -> Worker | None:
        """A ready worker for one task, to be given back; None if there is none any more.

        If possible one that has the task's ``checkpoint`` loaded: another would take seconds.
        """
        slot = self._free(checkpoint)
        if slot is None:
            return None
        slot.is_taken = True
        return slot.worker

    def free_count(self) -> int:
        """How many workers are ready and have no task."""
        return sum(slot.is_free for slot in self._slots.values())

    def is_loaded_on_free(self, checkpoint: str) -> bool:
        """Has a free worker this checkpoint loaded?"""
        return any(slot.is_free and slot.has_loaded(checkpoint) for slot in self._slots.values())

    def drain(self, name: str, is_draining: bool) -> bool:
        """Let a worker take no more tasks, or take them again; False if there is none such.

        What it has goes on. A drained worker does tools only if no other worker is ready.
        """
        if (slot := self._slots.get(name)) is None:
            return False
        slot.is_draining = is_draining
        self.tell_state()
        return True

    def count_pictures(self, worker: Worker, pictures: int) -> None:
        """Note how many pictures a worker has made of a task."""
        if (slot := self._slot_of(worker)) is not None:
            slot.pictures += pictures

    def describe(self, tasks: Mapping[str, Sequence[str]]) -> tuple[WorkerInfo, ...]:
        """Every worker; ``tasks`` are the ids of those that run, by the worker's name."""
        return tuple(
            _describe(slot, tuple(tasks.get(name, ()))) for name, slot in self._slots.items()
        )

    def give_back(self, worker: Worker) -> None:
        """The task of this worker has ended, and with it maybe the worker."""
        if (slot := self._slot_of(worker)) is not None:
            slot.is_taken = False
            self._look_at(slot)

    async def take_for_tool(self) -> Worker:
        """The ready worker that will come to a tool call first, to be given back.

        Waits while the workers start. Raises DeviceBusy if all have failed.
        """
        while not (ready := [slot for slot in self._slots.values() if slot.is_ready]):
            states = self.states()
            if states and all(state.state == "failed" for state in states):
                reasons = "; ".join(state.error for state in states)
                raise DeviceBusy(f"no device is ready ({reasons}); try again later")
            self._changed.clear()
            await self._changed.wait()
        slot = min(ready, key=lambda each: (each.is_draining, each.is_taken, each.tools))
        slot.tools += 1
        return slot.worker

    def give_back_tool(self, worker: Worker) -> None:
        """The tool call has ended, as ``give_back``."""
        if (slot := self._slot_of(worker)) is not None:
            slot.tools -= 1
            self._look_at(slot)

    def note(self, name: str, event: WorkerEvent) -> None:
        """Take an event into account that says something of the worker itself."""
        if isinstance(event, WorkerFailed) and name in self._slots:
            self._slots[name].failed.set()

    def tell_state(self) -> None:
        """Say that workers have come, gone, started or failed."""
        self._changed.set()
        self._on_state()

    def _slot_of(self, worker: Worker) -> _Slot | None:
        """None if the worker was removed; its name may be another's by now."""
        slot = self._slots.get(worker.name)
        return slot if slot is not None and slot.worker is worker else None

    def _keep_slot(self, slot: _Slot) -> None:
        if self._supervisor is not None:
            work = partial(self._keep, slot, self._sink_of(slot.worker.name))
            self._supervisor.keep(_work_name(slot.worker), work)

    def _free(self, checkpoint: str = "") -> _Slot | None:
        """The free worker that has the checkpoint loaded or else none, with the fewest tool
        calls."""
        free = [slot for slot in self._slots.values() if slot.is_free]
        if len(free) < 2 or not checkpoint:
            return min(free, key=lambda slot: slot.tools, default=None)
        return min(
            free,
            key=lambda slot: (
                not slot.has_loaded(checkpoint),
                bool(slot.worker.loaded()),
                slot.tools,
            ),
        )

    async def _keep(self, slot: _Slot, sink: Sink) -> None:
        """Start a worker, and again each time it has failed."""
        while True:
            slot.failed.clear()
            failure = await asyncio.wrap_future(slot.worker.start(sink))
            self.tell_state()
            if failure is None:
                await slot.failed.wait()
                self.tell_state()
            slot.failures += 1
            slot.failures_in_all += 1
            pause = self._backoff.pause(slot.failures)
            state = slot.worker.state
            log.error("device %s failed: %s; started again in %g s", state.name, state.error, pause)
            await asyncio.sleep(pause)

    def _look_at(self, slot: _Slot) -> None:
        """Notice whether a worker that was used is still ready."""
        if slot.is_ready:
            slot.failures = 0
            self._changed.set()
        elif slot.worker.state.state == "failed":  # else it is being started again already
            slot.failed.set()


def _describe(slot: _Slot, tasks: tuple[str, ...]) -> WorkerInfo:
    worker, state = slot.worker, slot.worker.state
    elsewhere = worker if isinstance(worker, RunsElsewhere) else None
    return WorkerInfo(
        id=state.name,
        state=state.state,
        error=state.error,
        draining=slot.is_draining,
        node=elsewhere.node if elsewhere else "",
        hardware=state.hardware,
        memory_bytes=elsewhere.memory if elsewhere else 0,
        tasks=tasks,
        models=tuple(model.name for model in worker.loaded()),
        pictures=slot.pictures,
        failures=slot.failures_in_all,
    )


def _work_name(worker: Worker) -> str:
    return f"worker {worker.name}"


def _nowhere(_event: WorkerEvent) -> None:
    """Until the workers are started, they say nothing."""
