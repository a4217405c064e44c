"""The waiting tasks as an ``asyncio.Queue`` whose order may change and which may be paused."""

import asyncio

from pipeline.scheduling.queue import Line, Waiting
from pipeline.scheduling.task import Task


class TaskQueue(asyncio.Queue[Waiting]):
    """Owned by the event loop; ``put_nowait`` adds, ``take`` removes.

    The storage is a ``Line``, installed through the three hooks that asyncio provides for its own
    PriorityQueue and LifoQueue.
    """

    line: Line

    def __init__(self) -> None:
        super().__init__()
        self._resumed = asyncio.Event()
        self._resumed.set()

    def _init(self, maxsize: int) -> None:  # noqa: ARG002 - asyncio passes it
        self.line = Line()

    def _put(self, item: Waiting) -> None:
        self.line.add(item.task, item.priority, first=item.returned)

    def _get(self) -> Waiting:
        return self.line.take()

    def qsize(self) -> int:
        """Number of waiting tasks."""
        return len(self.line)

    def empty(self) -> bool:
        """True if no task waits."""
        return len(self.line) == 0

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
            # Paused while this coroutine waited in get(): the task goes back to the head.
            self.put_nowait(Waiting(task=item.task, priority=item.priority, returned=True))

    def waiting(self) -> tuple[Task, ...]:
        """The waiting tasks in the order they will run."""
        return tuple(entry.task for entry in self.line.entries())
