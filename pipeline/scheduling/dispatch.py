"""From the queue to the devices: one dispatcher per device, and the tasks that run."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from bus.bus import EventBus
from bus.events import TaskStarted
from pipeline.scheduling.progress import Running
from pipeline.scheduling.task import MadeImage, Outcome, Task
from pipeline.scheduling.task_queue import TaskQueue
from pipeline.scheduling.worker import DeviceWorker

ABORT_GRACE_S: Final = 2.0  # of the time to shut down, reserved for the step in progress

OnEnd = Callable[[Task, Outcome], Awaitable[None]]
OnChange = Callable[[], None]


class PictureStore(Protocol):
    """Where finished pictures go. Called on device and worker threads, never on the loop."""

    def save(self, made: MadeImage) -> str:
        """Write a picture; its path, such as ``/outputs/2026-11-23/….png``. Raises SavingFailed."""

    def delete(self, path: str) -> None:
        """Remove a picture that ``save`` wrote; nothing happens if it is gone."""


class Dispatcher:
    """Drains the queue into the workers. Owned by the event loop."""

    def __init__(
        self,
        bus: EventBus,
        queue: TaskQueue,
        workers: Sequence[DeviceWorker],
        pictures: PictureStore,
    ) -> None:
        self.workers = tuple(workers)
        self._bus = bus
        self._queue = queue
        self._pictures = pictures
        self._running: dict[str, Running] = {}
        self._loops: dict[str, asyncio.Task[None]] = {}
        self._closing = asyncio.Event()
        self._aborted: set[str] = set()

    @property
    def closing(self) -> bool:
        """True from the call of ``close`` on."""
        return self._closing.is_set()

    def start(self, on_begun: OnChange, on_end: OnEnd, on_free: OnChange) -> None:
        """Start every worker and begin to drain the queue.

        ``on_begun`` is called after a task has begun, ``on_end`` awaited with its outcome, and
        ``on_free`` called once the worker is free again.
        """
        self._loops = {
            worker.name: asyncio.create_task(
                self._dispatch(worker, on_begun, on_end, on_free), name=f"dispatch-{worker.name}"
            )
            for worker in self.workers
        }

    def running(self) -> tuple[Running, ...]:
        """The running tasks, at most one per worker."""
        return tuple(self._running.values())

    def ask(self, task_id: str | None, ask: Callable[[Running], None]) -> bool:
        """Apply ``ask`` to the named or to every running task. False if there was none."""
        asked = [r for r in self._running.values() if task_id in {None, r.task.task_id}]
        for running in asked:
            ask(running)
        return bool(asked)

    async def close(self, grace_s: float) -> None:
        """Begin no more tasks; let the running ones end within ``grace_s``, else abort them.

        An aborted task is not reported as ended, and its pictures are deleted. Idempotent.
        """
        self._closing.set()
        busy = {running.device for running in self._running.values()}
        for device, loop in self._loops.items():
            if device not in busy:
                loop.cancel()
        await self._join(grace_s - ABORT_GRACE_S)
        self._aborted = {r.task.task_id for r in self._running.values() if not r.stop_requested}
        for running in self._running.values():
            running.ask_to_stop()
        await self._join(ABORT_GRACE_S)
        for loop in self._loops.values():
            loop.cancel()
        await asyncio.gather(*self._loops.values(), return_exceptions=True)
        for worker in self.workers:
            worker.close()

    async def _join(self, seconds: float) -> None:
        if self._loops:
            await asyncio.wait(self._loops.values(), timeout=max(0.0, seconds))

    async def _dispatch(
        self, worker: DeviceWorker, on_begun: OnChange, on_end: OnEnd, on_free: OnChange
    ) -> None:
        """Run one task after another on ``worker``."""
        await asyncio.wrap_future(worker.start())
        while not self.closing:
            task = (await self._queue.take()).task
            running = Running(task, worker.name, self._bus.publish, self._pictures.save)
            self._running[task.task_id] = running
            self._bus.publish(TaskStarted(device=worker.name), task.task_id)
            on_begun()
            outcome = running.outcome(await asyncio.wrap_future(worker.make(running)))
            if outcome.status == "stop" and task.task_id in self._aborted:
                await asyncio.to_thread(self._discard, outcome.images)  # made anew next time
            else:
                await on_end(task, outcome)
            del self._running[task.task_id]
            on_free()

    def _discard(self, images: tuple[str, ...]) -> None:
        for image in images:
            self._pictures.delete(image)
