"""GET /tasks and /tasks/{task_id}, over HTTP."""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bus.events import HistoryDeleted
from bus.subscription import EventFilter
from handlers.keys import BUS
from tests.integration.serving import WAIT_S, Focal

EMPTY: dict[str, list[Any]] = {"history": [], "current": [], "pending": []}


@pytest.fixture
def shanghai() -> Iterator[None]:
    """Local time is eight hours ahead of UTC."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Asia/Shanghai"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


def moment(record: dict[str, Any], seconds: float = 0) -> datetime:
    at = datetime.fromtimestamp(record["in_queue_mills"] / 1000, UTC)
    return at + timedelta(seconds=seconds)


async def two_ended_one_running_two_waiting(focal: Focal) -> list[str]:
    ended = [(await focal.generate({}))["task_id"] for _ in range(2)]
    focal.device.started.clear()
    focal.device.gate.clear()
    running = await focal.queue()
    await focal.started()
    return [*ended, running, await focal.queue(), await focal.queue()]


async def test_a_task_can_be_waited_for(focal: Focal) -> None:
    focal.device.gate.clear()
    task_id = await focal.queue()
    await focal.started()
    running = await focal.get(f"/tasks/{task_id}", wait="0.01")
    assert running["task_status"] == "running"
    polls = [asyncio.create_task(focal.get(f"/tasks/{task_id}", wait="30")) for _ in range(2)]
    await asyncio.wait(polls, timeout=0.05)
    assert not any(poll.done() for poll in polls)
    focal.device.gate.set()
    for record in await asyncio.gather(*polls):
        assert record["task_status"] == "finished"
    again = await focal.get(f"/tasks/{task_id}", wait="30")
    assert again["task_status"] == "finished"
    await focal.get("/tasks/nobody", 404, wait="30")
    for wrong in ("61", "-1", "soon", "nan"):
        await focal.get(f"/tasks/{task_id}", 422, wait=wrong)


async def test_a_client_that_waits_is_told_when_the_server_stops(focal: Focal) -> None:
    focal.device.gate.clear()
    await focal.queue()
    await focal.started()
    waiting = await focal.queue()
    poll = asyncio.create_task(focal.get(f"/tasks/{waiting}", 503, wait="30"))
    await asyncio.wait((poll,), timeout=0.05)
    focal.device.gate.set()
    await focal.app.shutdown()
    assert (await poll)["code"] == "server_stopping"


async def test_the_three_lists_show_every_task_in_its_state(focal: Focal) -> None:
    ids = await two_ended_one_running_two_waiting(focal)
    tasks = await focal.get("/tasks")
    assert list(tasks) == ["history", "current", "pending"]
    assert [task["task_id"] for task in tasks["history"]] == [ids[1], ids[0]]
    assert [task["task_id"] for task in tasks["current"]] == [ids[2]]
    assert [task["task_id"] for task in tasks["pending"]] == ids[3:]
    for name, shown in (("history", ids[:2]), ("current", ids[2:3]), ("pending", ids[3:])):
        only = await focal.get("/tasks", query=name)
        assert sorted(task["task_id"] for task in only[name]) == sorted(shown)
        assert {**only, name: []} == EMPTY
    assert await focal.get("/tasks", query="all") == tasks


async def test_a_waiting_task_has_no_times_but_its_own_place_in_time(focal: Focal) -> None:
    waiting = (await two_ended_one_running_two_waiting(focal))[3]
    record = await focal.get(f"/tasks/{waiting}")
    assert record == (await focal.get("/tasks", query="pending"))["pending"][0]
    assert record["id"] == -1
    assert record["in_queue_mills"] > 0
    assert record["req_params"]["prompt"] == ""
    for name in ("start_mills", "finish_mills", "progress", "result", "task_status"):
        assert record[name] is None, name
    assert "preview" not in record


async def test_a_running_task_shows_its_progress_and_preview(focal: Focal) -> None:
    focal.device.hold_at_step(2)
    task_id = await focal.queue()
    await focal.started()
    record = await focal.get(f"/tasks/{task_id}")
    assert record["id"] == -1
    assert record["task_status"] == "running"
    assert record["start_mills"] >= record["in_queue_mills"]
    assert record["finish_mills"] == -1
    assert record["progress"] == 13
    assert record["preview"].startswith("data:image/png;base64,")
    assert record["result"] == []


async def test_an_unknown_task_is_a_404(focal: Focal) -> None:
    for task_id in ("0" * 32, "nothing", "..%2f..%2fdb.sqlite3"):
        reply = await focal.get(f"/tasks/{task_id}", status=404)
        assert "detail" in reply


async def test_pages_count_from_zero_and_pending_is_paged_from_the_oldest(focal: Focal) -> None:
    ended = [(await focal.generate({}))["task_id"] for _ in range(5)]
    pages = [
        (await focal.get("/tasks", query="history", page=str(page), page_size="2"))["history"]
        for page in range(4)
    ]
    assert [[task["task_id"] for task in page] for page in pages] == [
        [ended[4], ended[3]],
        [ended[2], ended[1]],
        [ended[0]],
        [],
    ]
    focal.device.started.clear()
    focal.device.gate.clear()
    await focal.queue()
    await focal.started()
    waiting = [await focal.queue() for _ in range(3)]
    second = await focal.get("/tasks", query="pending", page="1", page_size="2")
    assert [task["task_id"] for task in second["pending"]] == waiting[2:]


async def test_ten_tasks_make_a_page_unless_a_range_of_time_is_asked(focal: Focal) -> None:
    records = [await focal.generate({}) for _ in range(11)]
    assert len((await focal.get("/tasks"))["history"]) == 10
    start = moment(records[0]).isoformat()
    assert len((await focal.get("/tasks", start_at=start))["history"]) == 11
    assert len((await focal.get("/tasks", start_at=start, page="0"))["history"]) == 10
    assert len((await focal.get("/tasks", start_at=start, page_size="3"))["history"]) == 3


@pytest.mark.usefixtures("shanghai")
async def test_times_without_a_zone_are_local_and_others_are_what_they_say(focal: Focal) -> None:
    record = await focal.generate({})
    before, after = moment(record, -2), moment(record, 2)
    spellings: list[Callable[[datetime], str]] = [
        lambda at: at.isoformat(),
        lambda at: at.isoformat().replace("+00:00", "Z"),
        lambda at: at.astimezone().replace(tzinfo=None).isoformat(),  # local
        lambda at: at.astimezone().isoformat().replace("+", " "),  # what "+" becomes unescaped
    ]
    for spelled in spellings:
        inside = await focal.get("/tasks", start_at=spelled(before), end_at=spelled(after))
        assert len(inside["history"]) == 1, spelled(before)
        outside = await focal.get("/tasks", start_at=spelled(after))
        assert outside["history"] == [], spelled(after)
    day = moment(record).astimezone().date().isoformat()
    assert len((await focal.get("/tasks", start_at=day, end_at=day))["history"]) == 1
    assert (await focal.get("/tasks", end_at="2024-07-03"))["history"] == []


async def test_deleting_a_range_takes_rows_and_pictures_and_tells_the_bus(focal: Focal) -> None:
    ids = await two_ended_one_running_two_waiting(focal)
    (focal.folder / "inputs").mkdir(exist_ok=True)
    (focal.folder / "inputs" / "kept.png").write_bytes(b"input")
    assert len(focal.files()) == 3
    start = moment(await focal.get(f"/tasks/{ids[0]}")).isoformat()
    with focal.app[BUS].subscribe(EventFilter(types=frozenset({HistoryDeleted.type}))) as news:
        reply = await focal.get("/tasks", query="history", start_at=start, action="delete")
        told = await asyncio.wait_for(anext(news), WAIT_S)
    assert sorted(task["task_id"] for task in reply["history"]) == sorted(ids[:2])
    assert isinstance(told.data, HistoryDeleted)
    assert sorted(told.data.task_ids) == sorted(ids[:2])
    assert focal.files() == ["inputs/kept.png"]
    tasks = await focal.get("/tasks")
    assert tasks["history"] == []
    assert len(tasks["current"]) == 1
    assert len(tasks["pending"]) == 2
    await focal.get(f"/tasks/{ids[0]}", status=404)
    focal.device.gate.set()
    assert (await focal.ended(ids[4]))["task_status"] == "finished"


async def test_only_the_range_is_deleted(focal: Focal) -> None:
    records = [await focal.generate({}) for _ in range(3)]
    if records[0]["in_queue_mills"] == records[1]["in_queue_mills"]:
        pytest.skip("two tasks within one millisecond")
    bounds: dict[str, Any] = {
        "start_at": moment(records[1]).isoformat(),
        "end_at": moment(records[1]).isoformat(),
    }
    reply = await focal.get("/tasks", action="delete", **bounds)
    assert [task["task_id"] for task in reply["history"]] == [records[1]["task_id"]]
    left = [task["task_id"] for task in (await focal.get("/tasks"))["history"]]
    assert left == [records[2]["task_id"], records[0]["task_id"]]
    assert len(focal.files()) == 2


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ({"query": "everything"}, "query"),
        ({"query": ""}, "query"),
        ({"page": "-1"}, "page"),
        ({"page": "1.5"}, "page"),
        ({"page": "9" * 30}, "page"),
        ({"page_size": "0"}, "page_size"),
        ({"page_size": "1001"}, "page_size"),
        ({"page_size": "ten"}, "page_size"),
        ({"start_at": "yesterday"}, "start_at"),
        ({"start_at": "2024-13-01"}, "start_at"),
        ({"start_at": "0001-01-01T00:00:00+23:59"}, "start_at"),
        ({"end_at": "1720085748199"}, "end_at"),
        ({"action": "drop", "start_at": "2024-01-01"}, "action"),
        ({"action": "delete"}, "start_at"),
        ({"action": "delete", "end_at": "2099-01-01"}, "start_at"),
        ({"action": "delete", "start_at": ""}, "start_at"),
    ],
)
async def test_a_wrong_query_is_named_and_nothing_is_deleted(
    focal: Focal, query: dict[str, Any], name: str
) -> None:
    await focal.generate({})
    reply = await focal.get("/tasks", status=422, **query)
    assert reply["detail"][0]["loc"] == ["query", name]
    assert len((await focal.get("/tasks"))["history"]) == 1


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_a_link_on_another_site_cannot_delete(focal: Focal, site: str) -> None:
    await focal.generate({})
    query = {"action": "delete", "start_at": "2024-01-01"}
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    async with focal.session.get("/tasks", params=query, headers=headers) as answer:
        assert answer.status == 403
    assert len((await focal.get("/tasks"))["history"]) == 1


async def test_base64_results_are_found_again_by_id(focal: Focal) -> None:
    task_id = await focal.queue(require_base64=True)
    record = await focal.ended(task_id)
    assert record["result"][0].startswith("data:image/png;base64,")
