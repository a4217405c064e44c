"""Places in the queue: its limit, the limits of each API key, and reservations for rows to come."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pipeline.errors import KeyQueueFull, QueueFull
from pipeline.scheduling.key_limits import KeyLimits
from pipeline.scheduling.task_queue import TaskQueue


class Reservations:
    """Counts reserved places, so that as many tasks as the limits allow are admitted at once.

    ``limit`` is the number of tasks that may wait; ``key_limits`` are by the key's name.
    """

    def __init__(self, queue: TaskQueue, limit: int, key_limits: Mapping[str, KeyLimits]) -> None:
        self.limit = limit
        self._queue = queue
        self._key_limits = key_limits
        self._reserved = 0
        self._reserved_by_key: Counter[str] = Counter()

    def limits_of(self, key: str) -> KeyLimits:
        """The limits of an API key's tasks; without limits for a key that has none."""
        return self._key_limits.get(key) or KeyLimits()

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """Reserve one place during the block. Raises QueueFull, KeyQueueFull."""
        self._check(key)
        self._reserved += 1
        self._reserved_by_key[key] += 1
        try:
            yield
        finally:
            self._reserved -= 1
            self._reserved_by_key[key] -= 1

    def _check(self, key: str) -> None:
        waiting = self._queue.qsize()
        if waiting + self._reserved >= self.limit:
            raise QueueFull(f"{waiting} tasks are already waiting; try again later")
        limit = self.limits_of(key).waiting
        if limit and self._queue.tasks.count_of(key) + self._reserved_by_key[key] >= limit:
            raise KeyQueueFull(f"{limit} tasks of the key {key} are already waiting")
