"""Bounds how many pictures are decoded at once: one may take about 200 MB of memory."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Decoding:
    """Runs work that decodes pictures in threads, a few at a time. Event loop only."""

    def __init__(self, at_once: int) -> None:
        self._slots = asyncio.Semaphore(at_once)

    async def run(self, work: Callable[[], T]) -> T:
        """``work()`` in a thread, once there is a slot."""
        async with self._slots:
            return await asyncio.to_thread(work)
