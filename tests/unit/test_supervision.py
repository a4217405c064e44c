"""Background coroutines are restarted, with growing pauses, until the supervisor is closed."""

import asyncio
import logging
from collections.abc import Callable

import pytest

from bus.supervision import Backoff, Supervisor

WAIT_S = 5.0
AT_ONCE = Backoff(first_s=0.0, limit_s=0.0)


class Work:
    """Ends ``failures`` times as ``end`` says, then runs until it is cancelled."""

    def __init__(self, failures: int, end: Callable[[], None]) -> None:
        self.starts = 0
        self.started = asyncio.Event()
        self.settled = asyncio.Event()
        self.cancelled = False
        self._failures = failures
        self._end = end

    async def __call__(self) -> None:
        self.starts += 1
        self.started.set()
        if self.starts <= self._failures:
            return self._end()
        self.settled.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise


def fail() -> None:
    raise ZeroDivisionError("a bug")


def end() -> None:
    pass


def cancel() -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize("ending", [fail, end, cancel])
async def test_work_that_ends_is_logged_and_started_again(
    ending: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    supervisor = Supervisor(AT_ONCE)
    work = Work(2, ending)
    with caplog.at_level(logging.ERROR):
        supervisor.keep("counting", work)
        await asyncio.wait_for(work.settled.wait(), WAIT_S)
    assert work.starts == 3
    logged = [record for record in caplog.records if "counting" in record.getMessage()]
    assert len(logged) == 2
    assert bool(logged[0].exc_info and logged[0].exc_info[0]) == (ending is not end)
    await supervisor.close()
    assert work.cancelled


async def test_one_failing_work_does_not_disturb_another() -> None:
    supervisor = Supervisor(Backoff(first_s=WAIT_S))
    good = Work(0, end)
    supervisor.keep("bad", Work(1, fail))
    supervisor.keep("good", good)
    await asyncio.wait_for(good.settled.wait(), WAIT_S)
    assert not good.cancelled
    await supervisor.close()


async def test_closing_ends_work_in_its_pause_and_twice_is_harmless() -> None:
    supervisor = Supervisor(Backoff(first_s=3600.0, limit_s=3600.0))
    work = Work(1, fail)
    supervisor.keep("failing", work)
    await asyncio.wait_for(work.started.wait(), WAIT_S)
    await asyncio.wait_for(supervisor.close(), WAIT_S)
    await supervisor.close()
    assert work.starts == 1


def test_pauses_double_up_to_a_limit() -> None:
    backoff = Backoff(first_s=1.0, limit_s=10.0)
    assert [backoff.pause(failures) for failures in (1, 2, 3, 4, 5, 10**6)] == [1, 2, 4, 8, 10, 10]


async def test_the_pause_grows_with_the_failures_in_a_row() -> None:
    pauses: list[float] = []

    class Recorded(Backoff, frozen=True, kw_only=True):
        def pause(self, failures: int) -> float:
            pauses.append(super().pause(failures))
            return 0.0

    supervisor = Supervisor(Recorded(first_s=1.0, limit_s=60.0))
    work = Work(3, fail)
    supervisor.keep("failing", work)
    await asyncio.wait_for(work.settled.wait(), WAIT_S)
    await supervisor.close()
    assert pauses == [1.0, 2.0, 4.0]
