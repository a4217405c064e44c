"""Requests while the server stops: all are answered, and no task is lost or run twice."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bus.events import QueueChanged
from bus.subscription import EventFilter
from handlers.keys import BUS, EXECUTOR
from handlers.ops.lifecycle import shut_down
from storage.history import HistoryRepository
from tests.integration.serving import GENERATE, WAIT_S, Focal, serve


async def post(focal: Focal, **params: Any) -> tuple[int, dict[str, Any]]:
    async with focal.session.post(GENERATE, json={"prompt": "a cat", **params}) as answer:
        return answer.status, await answer.json()


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_task_admitted_while_the_server_stops_waits_for_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asynchronous: bool
) -> None:
    add_queued = HistoryRepository.add_queued
    writing, may_write = asyncio.Event(), asyncio.Event()

    async def slow(self: HistoryRepository, *arguments: Any) -> Any:
        writing.set()
        await may_write.wait()
        return await add_queued(self, *arguments)

    async with serve(tmp_path) as focal:
        monkeypatch.setattr(HistoryRepository, "add_queued", slow)
        posted = asyncio.create_task(post(focal, async_process=asynchronous))
        await asyncio.wait_for(writing.wait(), WAIT_S)
        await focal.app[EXECUTOR].close(grace_s=0.0)
        may_write.set()
        status, body = await asyncio.wait_for(posted, WAIT_S)
        assert (status, body["code"]) == (503, "server_stopping")
    monkeypatch.undo()
    async with serve(tmp_path) as focal:
        queue = await focal.get("/tasks")
        tasks = [*queue["current"], *queue["pending"], *queue["history"]]
        assert len(tasks) == 1
        assert (await focal.ended(tasks[0]["task_id"]))["task_status"] == "finished"


async def test_a_stopping_server_takes_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    async with serve(tmp_path) as focal:
        await focal.app[EXECUTOR].close(grace_s=0.0)
        status, body = await post(focal)
        assert (status, body["code"]) == (503, "server_stopping")
        await focal.nothing_is_left()


async def test_every_client_is_answered_when_the_server_stops(tmp_path: Path) -> None:
    async with serve(tmp_path) as focal:
        focal.device.gate.clear()
        running = asyncio.create_task(post(focal))
        await focal.started()
        focal.app[EXECUTOR].pause()
        only = EventFilter(types=frozenset({QueueChanged.type}))
        with focal.app[BUS].subscribe(only) as changes:
            waiting = [asyncio.create_task(post(focal)) for _ in range(3)]
            while focal.app[EXECUTOR].waiting_count < len(waiting):
                await asyncio.wait_for(anext(changes), WAIT_S)
        focal.device.gate.set()
        await shut_down(focal.app)
        answers = await asyncio.wait_for(asyncio.gather(running, *waiting), WAIT_S)
    assert [status for status, _ in answers] == [200, 503, 503, 503]
    assert {body["code"] for _, body in answers[1:]} == {"server_stopping"}
