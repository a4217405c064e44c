"""The waiting tasks as an ``asyncio.Queue`` whose order may change and which may be paused."""

import asyncio

from bus.events import now_ms
from pipeline.scheduling.queue import PriorityQueue, Waiting


class TaskQueue(asyncio.Queue[Waiting]):
    """Owned by the event loop; ``put_nowait`` adds, ``take`` removes.

    The storage is a ``PriorityQueue``, installed through the three hooks that asyncio provides
    for its own PriorityQueue and LifoQueue. Its revisions begin at the time of the start, so that
    no client takes one for its neighbour from before a restart.
    """

    tasks: PriorityQueue

    def __init__(self) -> None:
        super().__init__()
        self._resumed = asyncio.Event()
        self._resumed.set()

    def _init(self, maxsize: int) -> None:  # noqa: ARG002 - asyncio passes it
        self.tasks = PriorityQueue(revision=now_ms())

    def _put(self, item: Waiting) -> None:
        self.tasks.add(item)

    def _get(self) -> Waiting:
        return self.tasks.take()

    def qsize(self) -> int:
        """Number of waiting tasks."""
        return len(self.tasks)

    def empty(self) -> bool:
        """True if no task waits."""
        return len(self.tasks) == 0

    @property
    def paused(self) -> bool:
        """True while ``take`` waits even if there are tasks."""
        return not self._resumed.is_set()

    def pause(self) -> None:
        """Let ``take`` wait until ``resume``."""
        self._resumed.clear()

    def resume(self) -> None:
        """End a pause."""
        self._resumed.set()

    async def take(self) -> Waiting:
        """Remove and return the next task, once there is one and the queue is not paused."""
        while True:
            await self._resumed.wait()
            item = await self.get()
            if not self.paused:
                return item
            # Paused while this coroutine waited in get(): the task goes back to where it stood.
            self.put_nowait(item)
