"""How much of the history is kept."""

from typing import Self

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Ended tasks beyond any of these go, the oldest first; 0 is no limit."""

    seconds: float = 0.0  # age
    tasks: int = 0
    bytes: int = 0  # all images together

    @classmethod
    def of(cls, days: float, tasks: int, gigabytes: float) -> Self:
        """The limits in the units of the start options; a gigabyte is 10**9 bytes."""
        return cls(seconds=days * 86_400, tasks=tasks, bytes=int(gigabytes * 10**9))
