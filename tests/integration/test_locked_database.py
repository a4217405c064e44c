"""Another process holds the database while tasks end: clients see their ends all the same."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.integration.serving import GENERATE, Focal, serve


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.recorder.WRITE_WAIT_S", 0.01)


@contextmanager
def locked(focal: Focal) -> Iterator[None]:
    path = focal.folder / "outputs" / "db.sqlite3"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


async def test_a_task_that_ends_meanwhile_is_answered_shown_and_listed(focal: Focal) -> None:
    focal.device.gate.clear()
    task_id = await focal.queue(prompt="a cat")
    waiting = await focal.queue(prompt="a dog")
    await focal.started()
    with locked(focal):
        await focal.control(action="stop", task_id=waiting)
        focal.device.gate.set()
        record = await focal.ended(task_id)
        assert record["task_status"] == "finished"
        assert len(record["result"]) == 1
        assert (await focal.get(f"/tasks/{waiting}"))["task_status"] == "stop"
        tasks = await focal.get("/tasks")
        assert {task["task_id"] for task in tasks["history"]} == {task_id, waiting}
        assert (tasks["current"], tasks["pending"]) == ([], [])
        cards = (await focal.get("/v1/history"))["items"]
        assert {card["task_id"] for card in cards} == {task_id, waiting}


async def test_a_task_that_ended_is_not_made_again_by_the_next_start(tmp_path: Path) -> None:
    async with serve(tmp_path) as first:
        first.device.gate.clear()
        task_id = await first.queue(prompt="a cat")
        await first.started()
        lock = locked(first)
        lock.__enter__()
        first.device.gate.set()
        ended = await first.ended(task_id)
    lock.__exit__(None, None, None)
    async with serve(tmp_path) as second:
        record = await second.get(f"/tasks/{task_id}")
        assert (record["task_status"], record["result"][0].rpartition("/")[2]) == (
            "finished",
            ended["result"][0].rpartition("/")[2],
        )
        queue = await second.get("/v1/queue")
        assert (queue["running"], queue["pending"]) == ([], [])
        assert second.device.seen == []


async def answered_locked(focal: Focal, method: str, path: str) -> None:
    body = {"prompt": "a cat"} if method == "POST" else None
    async with focal.session.request(method, path, json=body) as answer:
        assert (answer.status, (await answer.json())["code"]) == (503, "database_locked"), path
        assert int(answer.headers["Retry-After"]) > 0


async def test_many_requests_are_refused_at_once_and_not_one_after_the_other(focal: Focal) -> None:
    done = await focal.generate({})
    writes = [("POST", GENERATE)] * 20
    writes += [("GET", "/tasks?action=delete&query=history&start_at=2000-01-01")] * 5
    writes += [("POST", f"/tasks/{done['task_id']}/delete")] * 5
    with locked(focal):
        async with asyncio.timeout(6):  # 1.5 s each, 45 s in all
            await asyncio.gather(*(answered_locked(focal, *write) for write in writes))
            for path in ("/tasks", f"/tasks/{done['task_id']}", "/v1/history", "/v1/queue"):
                await focal.get(path)
    assert (await focal.generate({}))["task_status"] == "finished"


@pytest.mark.parametrize("change", ["move?place=0", "priority?priority=9"])
async def test_a_place_that_cannot_be_saved_is_not_taken(focal: Focal, change: str) -> None:
    focal.device.gate.clear()
    await focal.queue(prompt="running")
    await focal.started()
    waiting = [await focal.queue(prompt="a cat") for _ in range(3)]
    before = (await focal.get("/v1/queue"))["pending"]
    with locked(focal):
        path = change.replace("?", f"?task_id={waiting[-1]}&")
        await answered_locked(focal, "POST", f"/v1/queue/{path}")
        assert (await focal.get("/v1/queue"))["pending"] == before
    focal.device.gate.set()


async def test_health_says_so_while_it_lasts_and_recovers_by_itself(focal: Focal) -> None:
    async with asyncio.timeout(20), focal.session.ws_connect("/ws?types=server.status") as ws:
        for _ in range(2):
            with locked(focal):
                await told(ws, "degraded")
                health = await focal.get("/health")
                assert (health["status"], health["ready"]) == ("degraded", False)
                assert "another process holds the history database" in health["detail"]
            await told(ws, "ready")
            assert (await focal.get("/health"))["ready"]


async def told(ws: aiohttp.ClientWebSocketResponse, status: str) -> None:
    """Read events up to the one with this status; a device may become ready meanwhile."""
    while (await ws.receive_json())["data"].get("status") != status:
        pass
