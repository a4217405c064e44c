"""Wrong keys are slowed by address, and logged once a minute."""

import asyncio
import logging

import pytest

from handlers.http.refusal import RequestRefused
from handlers.http.wrong_keys import FREE_TRIES, WAITING, WrongKeys


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_few_wrong_keys_cost_nothing_and_are_logged_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    wrong = WrongKeys(clock, longest_s=3600.0)
    caplog.set_level(logging.WARNING)
    for minute in (1, 2):
        for _ in range(FREE_TRIES):
            async with asyncio.timeout(0.05):
                await wrong.slow("10.0.0.1")
        assert len(caplog.records) == minute
        clock.now += 60.0


async def test_more_are_slowed_by_address_and_beyond_a_number_none_is_looked_at() -> None:
    wrong = WrongKeys(Clock(), longest_s=3600.0)
    for _ in range(FREE_TRIES):
        await wrong.slow("10.0.0.1")
    waiting = []
    for _ in range(WAITING):
        wrong.check("10.0.0.1")
        waiting.append(asyncio.create_task(wrong.slow("10.0.0.1")))
        await asyncio.sleep(0)
    with pytest.raises(RequestRefused) as refused:
        wrong.check("10.0.0.1")
    assert (refused.value.status, refused.value.code) == (429, "too_many_wrong_keys")
    wrong.check("10.0.0.2")
    assert not any(task.done() for task in waiting)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    wrong.check("10.0.0.1")


async def test_any_number_of_addresses_takes_little_memory() -> None:
    wrong = WrongKeys(Clock())
    for number in range(10_000):
        await wrong.slow(str(number))
    assert len(wrong._addresses) <= 4096
