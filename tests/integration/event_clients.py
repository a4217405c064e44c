"""Clients of the event streams."""

import asyncio
from typing import Any

from aiohttp import ClientWebSocketResponse, web
from aiohttp.test_utils import TestClient

from bus.bus import EventBus
from bus.events import TaskImage, TaskStarted
from pipeline.scheduling.task import MadeImage, Outcome, Task

WAIT_S = 5.0


STARTED = TaskStarted(device="cpu")


Client = TestClient[web.Request, web.Application]


class NoPictures:
    """A picture store for tasks that never run."""

    def check(self) -> None:
        """They are always there."""

    def save(self, made: MadeImage, *, task_id: str) -> str:
        raise AssertionError("nothing runs here")

    def delete(self, path: str) -> None:
        raise AssertionError("nothing runs here")


async def on_ended(task: Task, outcome: Outcome) -> None:
    """There are no rows here."""


async def next_frame(ws: ClientWebSocketResponse) -> dict[str, Any]:
    frame: dict[str, Any] = await ws.receive_json(timeout=WAIT_S)
    return frame


async def settle(bus: EventBus, *published: tuple[str | None, Any]) -> None:
    """Publish, and let the loop deliver it."""
    for task_id, data in published:
        bus.publish(data, task_id)
    await asyncio.sleep(0)


def picture(index: int) -> TaskImage:
    return TaskImage(url="/outputs/a.png", seed=1, index=index)
