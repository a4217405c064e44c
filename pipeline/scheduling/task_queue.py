"""The waiting tasks, to be taken by a coroutine in an order that may change, unless paused."""

import asyncio
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from typing import Final

from bus.events import now_ms
from pipeline.request.sharing import shared_request
from pipeline.scheduling.queue import PriorityQueue, Waiting
from pipeline.scheduling.task import Task

LOOK_AHEAD: Final = 64  # waiting tasks among which companions and ready ones are looked for
PASS_S: Final = 5.0  # for which others may pass a task that would make a worker change its model


class TaskQueue:
    """Owned by the event loop; ``put_nowait`` adds, ``take`` removes.

    ``tasks`` holds what waits. Its revisions begin at the time of the start, so that no client
    takes one for its neighbour from before a restart.
    """

    def __init__(
        self,
        may_run: Callable[[str], bool] = lambda _: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``may_run`` says whether a task of this API key may begin now; see ``look_again``."""
        self._clock = clock
        self.tasks = PriorityQueue(revision=now_ms())
        self.paused = False
        """True while ``take`` waits even if there are tasks."""
        self._may_run = may_run
        self._changed = asyncio.Event()
        self._passed: dict[str, float] = {}  # task ids, and since when each is passed

    def put_nowait(self, item: Waiting) -> None:
        """Add a task."""
        self.tasks.add(item)
        self._changed.set()

    def qsize(self) -> int:
        """Number of waiting tasks."""
        return len(self.tasks)

    def pause(self) -> None:
        """Let ``take`` wait until ``resume``."""
        self.paused = True

    def resume(self) -> None:
        """End a pause."""
        self.paused = False
        self._changed.set()

    def look_again(self) -> None:
        """A task has ended, so one of its key may begin."""
        self._changed.set()

    def take_companions(
        self, first: Waiting, images: int, apart: Collection[str] = ()
    ) -> Iterator[Waiting]:
        """Remove tasks that may be made together with ``first``, which was taken: at most
        ``images`` images of them, in the queue's order, and none whose id is in ``apart``.

        They pass tasks of their own priority only. Those lose no turn by it: each task waits for
        as many batches at most as tasks stood before it.
        """
        common = shared_request(first.task.request)
        if common is None or self.paused:
            return
        for entry in self.tasks.entries(limit=LOOK_AHEAD):
            task, count = entry.task, entry.task.params.image_number
            if images <= 0 or entry.priority < first.priority:
                return
            # One of a higher priority may not run yet, because of its key's limit.
            if entry.priority > first.priority or task.task_id in apart or count > images:
                continue
            if shared_request(task.request) == common and self._may_run(task.delivery.key):
                self.tasks.withdraw(task.task_id)
                images -= count
                yield entry

    async def take(self, is_prepared: Callable[[Task], bool] | None = None) -> Waiting:
        """Remove and return the next task that may begin, once there is one and no pause.

        ``is_prepared`` says whether a free worker has the task's model loaded. Such a task passes
        others of its priority that would make a worker change its model, but each of those for
        ``PASS_S`` at most.
        """
        while True:
            self._changed.clear()
            if not self.paused:
                if is_prepared and (entry := self._prepared(is_prepared)) is not None:
                    return entry
                with suppress(IndexError):
                    return self._taken(self.tasks.take(self._may_run))
            await self._changed.wait()

    def _prepared(self, is_prepared: Callable[[Task], bool]) -> Waiting | None:
        """Remove the first prepared task that may pass all before it; None if none may."""
        now = self._clock()
        passed: list[Waiting] = []
        for entry in self.tasks.entries(limit=LOOK_AHEAD):
            if not self._may_run(entry.task.delivery.key):
                continue
            if passed and entry.priority < passed[0].priority:
                return None
            if is_prepared(entry.task):
                self._passed.update(
                    (each.task.task_id, now)
                    for each in passed
                    if each.task.task_id not in self._passed
                )
                self.tasks.withdraw(entry.task.task_id)
                return self._taken(entry)
            if now - self._passed.get(entry.task.task_id, now) >= PASS_S:
                return None
            passed.append(entry)
        return None

    def _taken(self, entry: Waiting) -> Waiting:
        self._passed.pop(entry.task.task_id, None)
        if len(self._passed) > LOOK_AHEAD:  # some were withdrawn
            self._passed = {
                task_id: since
                for task_id, since in self._passed.items()
                if self.tasks.get(task_id) is not None
            }
        return entry
