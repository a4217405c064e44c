"""A benchmark's own time limit: what would exceed it is left out, and said to be."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

UNAVAILABLE = (ImportError, AttributeError, NotImplementedError, RuntimeError, ValueError)
"""What libraries raise where a device or a build lacks something."""


class TimeBudget:
    """Seconds from its making. Parts of a run ask for what they expect to take."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self._end - self._clock()

    @contextmanager
    def part(self, title: str, expected: float) -> Iterator[bool]:
        """Whether there is time for a part. One that fails is told, and the run goes on."""
        if self.left < expected:
            print(f"{title}: not measured, {self.left:.0f} s are left", flush=True)
            yield False
            return
        started = self._clock()
        try:
            yield True
        except UNAVAILABLE as error:
            print(f"{title}: not available: {str(error).partition(chr(10))[0][:120]}", flush=True)
        else:
            print(f"  ({title}: {self._clock() - started:.0f} s)", flush=True)
