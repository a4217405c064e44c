"""The queue's endpoints over HTTP: order, priorities, pause, and what survives a restart."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bus.events import PlaceChange, QueueChanged
from bus.subscription import EventFilter
from handlers.keys import BUS
from tests.integration.serving import WAIT_S, Focal, serve


async def post(focal: Focal, path: str, status: int = 200, **query: str) -> Any:
    async with focal.session.post(path, params=query) as answer:
        assert answer.status == status, await answer.text()
        return await answer.json()


def waiting(queue: dict[str, Any]) -> list[str]:
    return [task["task_id"] for task in queue["pending"]]


async def one_running_and_three_waiting(focal: Focal) -> list[str]:
    focal.device.gate.clear()
    ids = [await focal.queue(prompt="first")]
    await focal.started()
    return [*ids, *[await focal.queue(prompt=name) for name in "abc"]]


async def test_the_queue_shows_what_runs_and_what_waits_in_order(focal: Focal) -> None:
    ids = await one_running_and_three_waiting(focal)
    queue = await focal.get("/v1/queue")
    assert (queue["paused"], queue["limit"]) == (False, 100)
    assert [task["prompt"] for task in queue["running"]] == ["first"]
    assert waiting(queue) == ids[1:]
    assert [task["position"] for task in queue["pending"]] == [1, 2, 3]


async def test_a_page_of_the_queue_and_the_positions_of_some_tasks(focal: Focal) -> None:
    ids = await one_running_and_three_waiting(focal)
    asked = ",".join([ids[3], ids[0], "nobody"])
    queue = await focal.get(f"/v1/queue?offset=1&limit=1&task_ids={asked}")
    assert [(task["task_id"], task["position"]) for task in queue["pending"]] == [(ids[2], 2)]
    assert queue["waiting"] == 3
    assert queue["positions"] == {ids[3]: 3}  # the first runs, and nobody is nowhere


async def test_the_revision_is_that_of_the_event_that_told_the_change(focal: Focal) -> None:
    ids = await one_running_and_three_waiting(focal)
    before = (await focal.get("/v1/queue"))["revision"]
    changes = EventFilter(types=frozenset({QueueChanged.type}))
    with focal.app[BUS].subscribe(changes) as news:
        moved = await post(focal, "/v1/queue/move", task_id=ids[3], place="0")
        told = await asyncio.wait_for(anext(news), WAIT_S)
    assert isinstance(told.data, QueueChanged)
    assert told.data.revision == moved["revision"] == before + 1
    assert told.data.change == PlaceChange(task_id=ids[3], before=2, after=0)


async def test_moved_and_prioritised_tasks_run_in_their_new_order(focal: Focal) -> None:
    ids = await one_running_and_three_waiting(focal)
    moved = await post(focal, "/v1/queue/move", task_id=ids[3], place="0")
    assert waiting(moved) == [ids[3], ids[1], ids[2]]
    raised = await post(focal, "/v1/queue/priority", task_id=ids[2], priority="5")
    assert waiting(raised) == [ids[2], ids[3], ids[1]]
    assert waiting(await focal.get("/v1/queue")) == waiting(raised)
    assert [t["task_id"] for t in (await focal.get("/tasks"))["pending"]] == waiting(raised)
    focal.device.gate.set()
    await focal.ended(ids[1])
    assert [task.task_id for task in focal.device.seen] == [ids[0], ids[2], ids[3], ids[1]]


async def test_a_paused_queue_begins_nothing_and_what_runs_goes_on(focal: Focal) -> None:
    ids = await one_running_and_three_waiting(focal)
    changes = EventFilter(types=frozenset({QueueChanged.type}))
    with focal.app[BUS].subscribe(changes) as news:
        assert (await post(focal, "/v1/queue/pause"))["paused"] is True
        told = await asyncio.wait_for(anext(news), WAIT_S)
    assert isinstance(told.data, QueueChanged)
    assert told.data.paused
    focal.device.gate.set()
    assert (await focal.ended(ids[0]))["task_status"] == "finished"
    late = await focal.queue()
    queue = await focal.get("/v1/queue")
    assert (queue["running"], waiting(queue)) == ([], [*ids[1:], late])
    await post(focal, "/v1/queue/pause")
    assert (await post(focal, "/v1/queue/resume"))["paused"] is False
    assert (await focal.ended(late))["task_status"] == "finished"
    assert [task.task_id for task in focal.device.seen] == [*ids, late]


async def test_a_pause_that_holds_already_is_told_to_nobody(focal: Focal) -> None:
    await post(focal, "/v1/queue/pause")
    changes = EventFilter(types=frozenset({QueueChanged.type}))
    with focal.app[BUS].subscribe(changes) as news:
        await post(focal, "/v1/queue/pause")
        await post(focal, "/v1/queue/resume")
        told = await asyncio.wait_for(news.take(), WAIT_S)
        await post(focal, "/v1/queue/resume")
        await focal.get("/v1/queue")
        assert news.take_now() == []
    assert [getattr(event.data, "paused", None) for event in told] == [False]


async def test_a_waiting_task_of_a_paused_queue_can_be_stopped(focal: Focal) -> None:
    await post(focal, "/v1/queue/pause")
    task_id = await focal.queue()
    assert await focal.control(action="stop", task_id=task_id) == {"message": "Stopped"}
    assert (await focal.get("/v1/queue"))["pending"] == []


async def test_order_priorities_and_pause_survive_a_restart(tmp_path: Path) -> None:
    async with serve(tmp_path) as focal:
        await post(focal, "/v1/queue/pause")
        a, b, c = [await focal.queue() for _ in range(3)]
        await post(focal, "/v1/queue/priority", task_id=c, priority="2")
        await post(focal, "/v1/queue/move", task_id=a, place="2")
    async with serve(tmp_path) as focal:
        queue = await focal.get("/v1/queue")
        assert queue["paused"] is True
        assert [(t["task_id"], t["priority"]) for t in queue["pending"]] == [(c, 2), (b, 0), (a, 0)]
        await post(focal, "/v1/queue/resume")
        assert (await focal.ended(a))["task_status"] == "finished"


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("/v1/queue/move", {"place": "0"}, 404),
        ("/v1/queue/move", {"task_id": "x", "place": "0"}, 404),
        ("/v1/queue/move", {"task_id": "x"}, 422),
        ("/v1/queue/move", {"task_id": "x", "place": "-1"}, 422),
        ("/v1/queue/priority", {"task_id": "x", "priority": "101"}, 422),
        ("/v1/queue/priority", {"task_id": "x", "priority": "1"}, 404),
    ],
)
async def test_a_wrong_rearrangement_is_refused(
    focal: Focal, path: str, query: dict[str, str], status: int
) -> None:
    assert "detail" in await post(focal, path, status, **query)
