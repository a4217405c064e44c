"""Answers of the database, kept while nothing is committed to it."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

ANSWERS_KEPT: Final = 32
BYTES_KEPT: Final = 4 * 2**20


class Answers(Generic[T]):
    """The newest answers to queries about one state of the database. Belongs to one thread.

    ``version`` numbers the states, as ``Database.version`` does. It is asked for before the query,
    so what is kept may be newer than its version says, and is never older.
    """

    def __init__(self, limit: int = ANSWERS_KEPT, limit_bytes: int = BYTES_KEPT) -> None:
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._version = -1
        self._bytes = 0
        self._kept: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()

    def find(self, version: int | None, query: Hashable) -> T | None:
        """The answer given before in this state; None without one or where it is not known."""
        if version is None or version != self._version:
            return None
        kept = self._kept.get(query)
        return None if kept is None else kept[0]

    def keep(self, version: int | None, query: Hashable, answer: T, size: int) -> None:
        """Keep an answer of so many bytes, in place of other states' or of the oldest ones."""
        if version is None:
            return
        if version != self._version:
            self._kept.clear()
            self._bytes = 0
            self._version = version
        self._forget(query)
        self._kept[query] = (answer, size)
        self._bytes += size
        while len(self._kept) > self._limit or self._bytes > self._limit_bytes:
            self._forget(next(iter(self._kept)))

    def _forget(self, query: Hashable) -> None:
        _, size = self._kept.pop(query, (None, 0))
        self._bytes -= size
