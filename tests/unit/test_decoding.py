"""Decoding within a budget of memory: large pictures hold up neither small ones nor people."""

import asyncio
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from PIL import Image

from handlers.service.decoding import BUDGET_BYTES, LARGE_SHARE, Decoding, MemoryBudget
from pipeline.images.read import PIXEL_LIMIT, UnreadableImage

WAIT_S = 10.0


def picture(side: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (side, side)).save(buffer, "PNG")
    return buffer.getvalue()


SMALL, LARGE = picture(64), picture(6000)  # 34 MiB decoded, from 40 kB


class Works:
    """Works that last until they are let go; counts those that run at once."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun = threading.Semaphore(0)
        self.running = self.most = 0
        self._lock = threading.Lock()

    def __call__(self) -> str:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self.begun.release()
        assert self.go.wait(WAIT_S)
        with self._lock:
            self.running -= 1
        return "done"


@contextmanager
def decoding(budget: int = BUDGET_BYTES, threads: int = 8) -> Iterator[Decoding]:
    made = Decoding(budget, threads)
    try:
        yield made
    finally:
        made.close()


async def settled(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - it changes on other threads
            await asyncio.sleep(0.001)


async def test_so_many_run_at_once_as_their_pictures_have_room() -> None:
    works = Works()
    with decoding(budget=int(36e6 * 3 / LARGE_SHARE)) as door:
        tasks = [asyncio.create_task(door.run(works, LARGE)) for _ in range(8)]
        await settled(lambda: works.running == 3)
        works.go.set()
        async with asyncio.timeout(WAIT_S):
            assert await asyncio.gather(*tasks) == ["done"] * 8
        assert works.most == 3
        assert door._budget.used == 0


async def test_copies_count() -> None:
    works = Works()
    with decoding(budget=int(36e6 * 3 / LARGE_SHARE)) as door:
        tasks = [asyncio.create_task(door.run(works, LARGE, copies=3)) for _ in range(3)]
        await settled(lambda: works.running == 1)
        works.go.set()
        await asyncio.gather(*tasks)
        assert works.most == 1


async def test_large_pictures_hold_up_neither_small_ones_nor_what_people_look_at() -> None:
    works = Works()
    with decoding(threads=2) as door:
        many = [asyncio.create_task(door.run(works, LARGE)) for _ in range(16)]
        await settled(lambda: works.running == 2)
        async with asyncio.timeout(WAIT_S):
            assert await door.run(lambda: "small", SMALL) == "small"
            assert await door.run(lambda: "shown", LARGE, shown=True) == "shown"
            assert await door.run(lambda: "nothing decoded") == "nothing decoded"
        assert works.running == 2
        works.go.set()
        await asyncio.gather(*many)


async def test_memory_is_given_back_when_the_work_has_ended_and_not_before() -> None:
    works = Works()
    with decoding() as door:
        task = asyncio.create_task(door.run(works, LARGE))
        await settled(lambda: works.running == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert door._budget.used > 0
        works.go.set()
        await settled(lambda: door._budget.used == 0)


async def test_a_work_that_fails_gives_its_memory_back() -> None:
    def fail() -> None:
        raise ValueError("no")

    with decoding() as door:
        with pytest.raises(ValueError, match="no"):
            await door.run(fail, LARGE)
        assert door._budget.used == 0


async def test_what_is_no_picture_is_told_before_any_work() -> None:
    with decoding() as door:
        with pytest.raises(UnreadableImage):
            await door.run(partial(pytest.fail, "it ran"), b"no picture")
        assert door._budget.used == 0


async def test_one_that_waits_may_be_cancelled() -> None:
    budget = MemoryBudget(100, large_share=1.0)
    await budget.take("large", 100)
    waiting = asyncio.create_task(budget.take("small", 10))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    budget.give_back("large", 100)
    assert budget.used == 0
    assert await budget.take("shown", 100) == 100


async def test_one_cancelled_as_it_is_admitted_gives_back_what_it_got() -> None:
    budget = MemoryBudget(100, large_share=1.0)
    await budget.take("large", 100)
    waiting = asyncio.create_task(budget.take("small", 10))
    await asyncio.sleep(0)
    budget.give_back("large", 100)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert budget.used == 0


async def test_what_is_looked_at_comes_before_what_waits_longer() -> None:
    budget = MemoryBudget(100)
    await budget.take("small", 90)
    order: list[str] = []

    async def take(lane: str, amount: int) -> None:
        await budget.take(lane, amount)  # type: ignore[arg-type]
        order.append(lane)

    tasks = [
        asyncio.create_task(take(*each)) for each in (("large", 20), ("small", 50), ("shown", 50))
    ]
    await asyncio.sleep(0)
    assert order == []
    budget.give_back("small", 90)
    await asyncio.gather(*tasks[1:])
    assert order == ["shown", "small"]
    budget.give_back("small", 50)
    await tasks[0]


async def test_the_largest_picture_and_its_copies_fit() -> None:
    assert BUDGET_BYTES * LARGE_SHARE >= PIXEL_LIMIT * 4 * 3
    budget = MemoryBudget(100)
    assert await budget.take("large", 10_000) == 80  # alone, and not for ever waiting
