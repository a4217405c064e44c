"""How often a task has been begun without an end, so that one that kills its workers stops."""

from collections import Counter
from typing import Protocol


class Attempts(Protocol):
    """Counts the unfinished runs of each task. A task that ends has no count any more."""

    async def begin(self, task_id: str) -> int:
        """Count a run before it begins; the number of runs, this one included."""

    async def forgive(self, task_id: str) -> None:
        """Take back the newest run: it was broken off by the server itself."""


class MemoryAttempts:
    """``Attempts`` that a restart forgets."""

    def __init__(self) -> None:
        self._runs: Counter[str] = Counter()

    async def begin(self, task_id: str) -> int:
        """As ``Attempts.begin``."""
        self._runs[task_id] += 1
        return self._runs[task_id]

    async def forgive(self, task_id: str) -> None:
        """As ``Attempts.forgive``."""
        self._runs[task_id] -= 1
