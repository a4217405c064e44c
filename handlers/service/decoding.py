"""One door for all decoding of pictures: threads of its own, and one budget of memory.

A picture of 64 Mi pixels takes 256 MiB decoded, and a file that holds one may have 300 kB. So what
is bounded is memory, told from the pictures' heads, and not the count of pictures.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, Literal, TypeVar

from pipeline.images.read import decoded_bytes

T = TypeVar("T")
Lane = Literal["shown", "small", "large"]

BUDGET_BYTES: Final = 1280 * 2**20
LARGE_SHARE: Final = 0.8  # of the budget; holds the largest picture and two copies of it
SMALL_BYTES: Final = 32 * 2**20
LANES: Final[tuple[Lane, ...]] = ("shown", "small", "large")
"""Order in which memory is given away: pictures that a person looks at, then small ones sent here.

Each lane has threads of its own, so that large pictures hold up no others."""
COPIES: Final = 3  # of a picture that is turned, or laid on white
THREADS: Final = 2  # of each lane


class MemoryBudget:
    """Gives memory to the lanes, in each in order of arrival. Event loop only.

    ``large`` may take its share of it only, so the others never wait for large pictures.
    """

    def __init__(self, total: int, large_share: float = LARGE_SHARE) -> None:
        self._total = total
        self._limits = {"large": int(total * large_share)}
        self._used = dict.fromkeys(LANES, 0)
        self._waiting: dict[Lane, deque[tuple[int, asyncio.Future[None]]]] = {
            lane: deque() for lane in LANES
        }

    @property
    def used(self) -> int:
        """Bytes that are taken."""
        return sum(self._used.values())

    async def take(self, lane: Lane, amount: int) -> int:
        """Wait for so much memory; what was taken, at most the lane's limit. See ``give_back``."""
        amount = min(amount, self._limits.get(lane, self._total))
        taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[lane].append((amount, taken))
        self._admit()
        try:
            await taken
        except asyncio.CancelledError:
            if taken.done() and not taken.cancelled():
                self.give_back(lane, amount)  # it was given in the same moment
            raise
        return amount

    def give_back(self, lane: Lane, amount: int) -> None:
        """Let others have it."""
        self._used[lane] -= amount
        self._admit()

    def _admit(self) -> None:
        for lane in LANES:
            waiting = self._waiting[lane]
            while waiting and (waiting[0][1].done() or self._fits(lane, waiting[0][0])):
                amount, taken = waiting.popleft()
                if not taken.done():  # else its caller was cancelled
                    self._used[lane] += amount
                    taken.set_result(None)
            if lane == "shown" and waiting:
                return  # what comes now would be taken from it

    def _fits(self, lane: Lane, amount: int) -> bool:
        limit = self._limits.get(lane, self._total)
        return self._used[lane] + amount <= limit and self.used + amount <= self._total


class Decoding:
    """Runs work on encoded pictures in threads, within the budget. Event loop only."""

    def __init__(self, budget_bytes: int = BUDGET_BYTES, threads: int = THREADS) -> None:
        self._budget = MemoryBudget(budget_bytes)
        self._pools = {lane: ThreadPoolExecutor(threads, f"decode-{lane}") for lane in LANES}

    async def run(
        self, work: Callable[[], T], *pictures: bytes, copies: int = 1, shown: bool = False
    ) -> T:
        """``work()`` in a thread, once there is memory for ``copies`` of the decoded pictures.

        Without pictures it waits for a thread only: for what takes long and decodes nothing.
        ``shown``: a person waits for what is made of a stored picture. What has begun is ended when
        the caller is cancelled. Raises UnreadableImage and ImageTooLarge before any is decoded.
        """
        first: Lane = "shown" if shown else "small"
        amount = 0
        if pictures:
            amount = await self._in_thread(first, partial(_memory_of, pictures, copies))
        lane: Lane = first if shown or amount <= SMALL_BYTES else "large"
        taken = await self._budget.take(lane, amount)
        running = self._in_thread(lane, work)
        running.add_done_callback(partial(self._ended, lane, taken))
        return await asyncio.shield(running)

    def close(self) -> None:
        """Begin nothing more; does not wait for what runs."""
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)

    def _ended(self, lane: Lane, taken: int, running: asyncio.Future[T]) -> None:
        self._budget.give_back(lane, taken)
        if not running.cancelled():
            running.exception()  # retrieved, since the caller may be gone

    def _in_thread(self, lane: Lane, work: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._pools[lane], work)


def _memory_of(pictures: tuple[bytes, ...], copies: int) -> int:
    return sum(map(decoded_bytes, pictures)) * copies
