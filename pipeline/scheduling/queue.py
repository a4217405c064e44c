"""The waiting tasks in the order they will run. Knows no event loop and no device."""

from typing import Final

import msgspec

from pipeline.scheduling.task import Task

MIN_PRIORITY: Final = -100
MAX_PRIORITY: Final = 100


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A task in the line; one of a higher priority never stands behind it."""

    task: Task
    priority: int = 0
    returned: bool = False  # taken out before: it goes before those of its priority


class Line:
    """A queue that people may rearrange. Belongs to one thread.

    Higher priorities stand before lower ones; among equals, who came first. A task that is moved
    takes the nearest priority that its new place allows, so that both rules go on to hold.
    """

    def __init__(self) -> None:
        self._waiting: list[Waiting] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, task: Task, priority: int = 0, *, first: bool = False) -> None:
        """Put a task behind all of its priority, or ``first`` of them, and all above."""
        entry = Waiting(task=task, priority=priority)
        self._waiting.insert(self._place_of(priority + 1 if first else priority), entry)

    def take(self) -> Waiting:
        """Take out the task that is next. Raises IndexError if none waits."""
        return self._waiting.pop(0)

    def withdraw(self, task_id: str) -> Task | None:
        """Take a task out; None if it does not wait (any more)."""
        index = self._find(task_id)
        return None if index is None else self._waiting.pop(index).task

    def move(self, task_id: str, place: int) -> bool:
        """Let ``place`` tasks (all, if fewer wait) stand before this one. False if it is not here.

        Its priority changes where the neighbours of the new place ask for it.
        """
        index = self._find(task_id)
        if index is None:
            return False
        entry = self._waiting.pop(index)
        place = max(0, min(place, len(self._waiting)))
        highest = self._waiting[place - 1].priority if place > 0 else MAX_PRIORITY
        lowest = self._waiting[place].priority if place < len(self._waiting) else MIN_PRIORITY
        priority = max(lowest, min(highest, entry.priority))
        self._waiting.insert(place, Waiting(task=entry.task, priority=priority))
        return True

    def prioritise(self, task_id: str, priority: int) -> bool:
        """Give a task another priority and the place that goes with it. False if it is not here."""
        task = self.withdraw(task_id)
        if task is None:
            return False
        self.add(task, priority)
        return True

    def entries(self) -> tuple[Waiting, ...]:
        """Who waits, in the order of the line."""
        return tuple(self._waiting)

    def _place_of(self, priority: int) -> int:
        # From the end: mostly everybody has the same priority, and the newcomer goes last.
        for index in range(len(self._waiting), 0, -1):
            if self._waiting[index - 1].priority >= priority:
                return index
        return 0

    def _find(self, task_id: str) -> int | None:
        for index, entry in enumerate(self._waiting):
            if entry.task.task_id == task_id:
                return index
        return None
