"""The waiting tasks, to be taken by a coroutine in an order that may change, unless paused."""

import asyncio
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from typing import Final

from bus.events import now_ms
from pipeline.request.sharing import shared_request
from pipeline.scheduling.queue import PriorityQueue, Waiting

LOOK_AHEAD: Final = 64  # waiting tasks among which companions are looked for


class TaskQueue:
    """Owned by the event loop; ``put_nowait`` adds, ``take`` removes.

    ``tasks`` holds what waits. Its revisions begin at the time of the start, so that no client
    takes one for its neighbour from before a restart.
    """

    def __init__(self, may_run: Callable[[str], bool] = lambda _: True) -> None:
        """``may_run`` says whether a task of this API key may begin now; see ``look_again``."""
        self.tasks = PriorityQueue(revision=now_ms())
        self.paused = False
        """True while ``take`` waits even if there are tasks."""
        self._may_run = may_run
        self._changed = asyncio.Event()

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

    async def take(self) -> Waiting:
        """Remove and return the next task that may begin, once there is one and no pause."""
        while True:
            self._changed.clear()
            with suppress(IndexError):
                if not self.paused:
                    return self.tasks.take(self._may_run)
            await self._changed.wait()
