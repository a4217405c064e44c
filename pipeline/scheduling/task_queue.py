"""The waiting tasks, to be taken by a coroutine in an order that may change, unless paused."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from bus.events import now_ms
from pipeline.scheduling.queue import PriorityQueue, Waiting


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

    async def take(self) -> Waiting:
        """Remove and return the next task that may begin, once there is one and no pause."""
        while True:
            self._changed.clear()
            with suppress(IndexError):
                if not self.paused:
                    return self.tasks.take(self._may_run)
            await self._changed.wait()
