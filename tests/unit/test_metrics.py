"""Ended tasks are counted once each, whatever becomes of the subscription."""

import asyncio
from collections.abc import Callable
from functools import partial

import pytest
from aiohttp import web

from bus.bus import EventBus
from bus.events import TaskFailed, TaskFinished
from bus.supervision import Backoff, Supervisor
from handlers.keys import BUS
from handlers.ops.metrics import METRICS, Metrics, count_tasks

ENDS = 50
WAIT_S = 5.0


def counted(app: web.Application, status: str) -> float:
    value = app[METRICS].registry.get_sample_value("focal_tasks_total", {"status": status})
    return value or 0.0


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not holds():  # noqa: ASYNC110 - neither a counter nor the bus calls anybody
            await asyncio.sleep(0)


async def test_a_burst_of_ends_that_overflows_the_mailbox_is_counted_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("handlers.ops.metrics.MAILBOX_LIMIT", 1)
    app = web.Application()
    app[METRICS] = Metrics()
    bus = app[BUS] = EventBus(asyncio.get_running_loop(), first_seq=1000)
    bus.publish(TaskFinished(images=(), seconds=1.0), "before the counting began")
    supervisor = Supervisor(Backoff(first_s=0.0, limit_s=0.0))
    supervisor.keep("task metrics", partial(count_tasks, app))
    await until(lambda: bus.subscribers == 1)
    for number in range(ENDS):
        bus.publish(TaskFinished(images=(), seconds=1.0), f"task {number}")
        bus.publish(TaskFailed(code="internal", error=""), f"other {number}")
    await until(lambda: counted(app, "finished") + counted(app, "failed") > 2 * ENDS)
    await supervisor.close()
    assert (counted(app, "finished"), counted(app, "failed")) == (ENDS + 1, ENDS)
    assert "task metrics ended" in caplog.text
