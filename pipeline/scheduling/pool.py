"""The workers: which are ready and free, and the restart of those that failed."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial

from bus.supervision import Backoff, Supervisor
from pipeline.errors import DeviceBusy
from pipeline.scheduling.worker import DeviceState, Worker
from pipeline.scheduling.worker_events import Sink, WorkerEvent, WorkerFailed

log = logging.getLogger(__name__)


class _Slot:
    """One worker and what it is used for."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.is_taken = False  # by a task
        self.tools = 0  # tool calls that it has
        self.failures = 0  # in a row
        self.failed = asyncio.Event()

    @property
    def is_ready(self) -> bool:
        return self.worker.state.state == "ready"


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

    def keep_running(
        self, supervisor: Supervisor, sink_of: Callable[[str], Sink], on_state: Callable[[], None]
    ) -> None:
        """Start every worker, and keep them running for as long as ``supervisor`` does.

        ``sink_of`` makes the receiver of a worker's events that belong to no task; ``on_state``
        is called after a worker has started or failed.
        """
        self._on_state = on_state
        for name, slot in self._slots.items():
            supervisor.keep(f"worker {name}", partial(self._keep, slot, sink_of(name)))

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

    def take(self) -> Worker | None:
        """A ready worker for one task, to be given back; None if there is none any more."""
        slot = self._free()
        if slot is None:
            return None
        slot.is_taken = True
        return slot.worker

    def free_count(self) -> int:
        """How many workers are ready and have no task."""
        return sum(slot.is_ready and not slot.is_taken for slot in self._slots.values())

    def give_back(self, worker: Worker) -> None:
        """The task of this worker has ended, and with it maybe the worker."""
        slot = self._slots[worker.name]
        slot.is_taken = False
        self._look_at(slot)

    async def take_for_tool(self) -> Worker:
        """The ready worker that will come to a tool call first, to be given back.

        Waits while the workers start. Raises DeviceBusy if all have failed.
        """
        while not (ready := [slot for slot in self._slots.values() if slot.is_ready]):
            if all(state.state == "failed" for state in self.states()):
                reasons = "; ".join(state.error for state in self.states())
                raise DeviceBusy(f"no device is ready ({reasons}); try again later")
            self._changed.clear()
            await self._changed.wait()
        slot = min(ready, key=lambda each: (each.is_taken, each.tools))
        slot.tools += 1
        return slot.worker

    def give_back_tool(self, worker: Worker) -> None:
        """The tool call has ended, as ``give_back``."""
        slot = self._slots[worker.name]
        slot.tools -= 1
        self._look_at(slot)

    def note(self, name: str, event: WorkerEvent) -> None:
        """Take an event into account that says something of the worker itself."""
        if isinstance(event, WorkerFailed):
            self._slots[name].failed.set()

    def _free(self) -> _Slot | None:
        """The ready worker without a task that has the fewest tool calls."""
        free = [slot for slot in self._slots.values() if slot.is_ready and not slot.is_taken]
        return min(free, key=lambda slot: slot.tools, default=None)

    async def _keep(self, slot: _Slot, sink: Sink) -> None:
        """Start a worker, and again each time it has failed."""
        while True:
            slot.failed.clear()
            failure = await asyncio.wrap_future(slot.worker.start(sink))
            self._tell_state()
            if failure is None:
                await slot.failed.wait()
                self._tell_state()
            slot.failures += 1
            pause = self._backoff.pause(slot.failures)
            state = slot.worker.state
            log.error("device %s failed: %s; started again in %g s", state.name, state.error, pause)
            await asyncio.sleep(pause)

    def _look_at(self, slot: _Slot) -> None:
        """Notice whether a worker that was used is still ready."""
        if slot.is_ready:
            slot.failures = 0
            self._changed.set()
        else:
            slot.failed.set()

    def _tell_state(self) -> None:
        self._changed.set()
        self._on_state()
