"""Tasks on disk: written when queued and when they end, found again by page, range and id."""

import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from pipeline.request.decode import GenerateParams
from pipeline.request.delivery import Delivery
from pipeline.request.resolved import resolve_params
from pipeline.scheduling.task import Outcome, Task
from storage.database import Database, open_database
from storage.history import Admitted, HistoryRepository
from storage.open_rows import Unfinished
from storage.records import absolute, accepted_record, pending_record, running_record
from storage.unwritten import EndedTask, UnwrittenEnds
from tests.ended_tasks import delete_range, finish

DAY_MS = 86_400_000


@pytest_asyncio.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "db.sqlite3") as database:
        yield database


@pytest.fixture
def history(database: Database) -> HistoryRepository:
    return HistoryRepository(database)


def make_task(task_id: str, queued_ms: int = 1000, **params: Any) -> Task:
    return Task(
        task_id=task_id,
        request=resolve_params(GenerateParams(**{"prompt": "a cat", "image_seed": 7, **params})),
        in_queue_mills=queued_ms,
        delivery=Delivery(base_url="http://here:1"),
    )


def make_outcome(**values: Any) -> Outcome:
    defaults: dict[str, Any] = {"status": "finished", "started_mills": 2, "finished_mills": 3}
    return Outcome(**{**defaults, **values})


def tasks_of(unfinished: Unfinished) -> list[Task]:
    return [row.resolved(resolve_params(row.params)).task for row in unfinished.rows]


async def add_ended(database: Database, task_id: str, queued_ms: int) -> None:
    await HistoryRepository(database).add_queued(make_task(task_id, queued_ms))
    await finish(database, task_id, make_outcome(images=(f"/outputs/2026-11-23/{task_id}.png",)))


async def ids(history: HistoryRepository, *args: Any) -> list[str]:
    return [record.task_id for record in await history.page(*args)]


async def test_a_queued_task_has_null_in_place_of_everything_that_is_not_known_yet(
    history: HistoryRepository,
) -> None:
    await history.add_queued(make_task("a"))
    record = await history.get("a")
    assert record is not None
    assert record.in_queue_mills == 1000
    unknown = (record.start_mills, record.finish_mills, record.progress, record.task_status)
    assert unknown == (None, None, None, None)
    assert record.result is None
    assert await history.page() == []


async def test_an_ended_task_keeps_its_times_pictures_error_and_notes(
    history: HistoryRepository,
    database: Database,
) -> None:
    await history.add_queued(make_task("a"))
    outcome = make_outcome(
        status="failed", error="no room", code="out_of_memory", notes={"native": [256, 256]}
    )
    assert await finish(database, "a", outcome)
    record = await history.get("a")
    assert record is not None
    assert (record.task_status, record.error, record.code) == (
        "failed",
        "no room",
        "out_of_memory",
    )
    assert record.notes == {"native": [256, 256]}
    assert (record.start_mills, record.finish_mills, record.result) == (2, 3, [])


async def test_a_task_ends_once(history: HistoryRepository, database: Database) -> None:
    await history.add_queued(make_task("a"))
    assert await finish(database, "a", make_outcome())
    assert not await finish(database, "a", make_outcome(status="failed"))
    assert not await finish(database, "never queued", make_outcome())
    record = await history.get("a")
    assert record is not None
    assert (record.task_status, record.progress) == ("finished", 100)


async def test_unfinished_tasks_come_back_whole_and_in_their_old_order(
    history: HistoryRepository,
    database: Database,
) -> None:
    tasks = [make_task(name, 5000 - i, image_number=3) for i, name in enumerate("cab")]
    for task in tasks:
        await history.add_queued(task)
    await finish(database, "a", make_outcome())
    assert tasks_of(await history.unfinished()) == [tasks[0], tasks[2]]


async def test_a_row_that_cannot_be_read_any_more_does_not_stop_the_others(
    history: HistoryRepository, database: Database
) -> None:
    for name, params in (("bad", '{"image_number": "many"}'), ("broken", '{"image_num')):
        async with database.transaction() as connection:
            await connection.execute(
                "INSERT INTO generate_record (task_id, req_params) VALUES (?, ?)", (name, params)
            )
    await history.add_queued(make_task("good"))
    unfinished = await history.unfinished()
    assert [task.task_id for task in tasks_of(unfinished)] == ["good"]
    assert [row.task_id for row in unfinished.unreadable] == ["bad", "broken"]
    assert "image_number" in unfinished.unreadable[0].error


async def test_pages_hold_the_newest_first_and_miss_none_across_many_days(
    history: HistoryRepository, database: Database
) -> None:
    queued = [day * DAY_MS + i // 2 for day in range(5) for i in range(7)]  # with equal times
    for i, mills in enumerate(queued):
        await add_ended(database, f"t{i:02d}", mills)
    everything = await ids(history)
    assert everything == [f"t{i:02d}" for i in reversed(range(35))]
    paged = [name for page in range(9) for name in await ids(history, None, None, page, 4)]
    assert paged == everything
    assert await ids(history, None, None, 9, 4) == []


async def test_a_range_holds_both_its_ends_and_can_be_paged(
    history: HistoryRepository, database: Database
) -> None:
    for i in range(10):
        await add_ended(database, f"t{i}", i * DAY_MS)
    assert await ids(history, 2 * DAY_MS, 6 * DAY_MS) == ["t6", "t5", "t4", "t3", "t2"]
    assert await ids(history, 2 * DAY_MS, 6 * DAY_MS, 1, 2) == ["t4", "t3"]
    assert await ids(history, 2 * DAY_MS, 6 * DAY_MS, 2, 2) == ["t2"]
    assert await ids(history, None, 1 * DAY_MS) == ["t1", "t0"]
    assert await ids(history, 8 * DAY_MS) == ["t9", "t8"]
    assert await history.count() == 10
    assert await history.count(2 * DAY_MS, 6 * DAY_MS) == 5


async def test_deleting_a_range_returns_what_is_gone_and_spares_waiting_tasks(
    history: HistoryRepository,
    database: Database,
) -> None:
    for i in range(6):
        await add_ended(database, f"t{i}", i * 1000)
    await history.add_queued(make_task("waiting", 3000))
    deleted = await delete_range(database, 2000, 4000)
    assert [record.task_id for record in deleted] == ["t4", "t3", "t2"]
    assert deleted[0].result == ["/outputs/2026-11-23/t4.png"]
    assert await ids(history) == ["t5", "t1", "t0"]
    assert await history.count() == 3
    assert [task.task_id for task in tasks_of(await history.unfinished())] == ["waiting"]


async def test_a_page_is_found_by_index_alone(
    history: HistoryRepository, database: Database
) -> None:
    sql = """EXPLAIN QUERY PLAN SELECT id FROM focal_ended WHERE mills BETWEEN 1 AND 2
             ORDER BY mills DESC, id DESC LIMIT 10"""
    (step,) = await database.fetch_all(sql, {})
    assert "focal_ended_index" in step["detail"]
    (step,) = await database.fetch_all("EXPLAIN QUERY PLAN SELECT id FROM focal_open", {})
    assert "focal_open_index" in step["detail"]


async def test_a_repeated_key_joins_the_first_task_also_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite3"
    async with open_database(path) as database:
        assert (await HistoryRepository(database).add_queued(make_task("a"), "key")).task_id == "a"
    async with open_database(path) as database:
        history = HistoryRepository(database)
        repeated = await history.add_queued(make_task("b"), "key")
        assert repeated == Admitted(task_id="a", row_id=None)
        assert await history.get("b") is None
        assert await history.task_of_key("key") == "a"
        assert (await history.add_queued(make_task("c"), "other key")).task_id == "c"


async def test_a_key_is_forgotten_with_its_task(
    history: HistoryRepository, database: Database
) -> None:
    await history.add_queued(make_task("a"), "key")
    await finish(database, "a", make_outcome())
    await delete_range(database, 0, 2000)
    assert await history.task_of_key("key") is None


async def test_a_half_run_task_of_the_reference_server_is_unfinished(
    history: HistoryRepository, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "db.sqlite3")) as other:
        other.execute(
            "INSERT INTO generate_record (task_id, req_params, in_queue_mills, finish_mills,"
            " task_status) VALUES ('r', '{\"prompt\": \"a dog\"}', 5, -1, 'running')"
        )
        other.commit()
    (task,) = tasks_of(await history.unfinished())
    assert (task.task_id, task.params.prompt) == ("r", "a dog")


async def test_a_damaged_cell_does_not_hide_the_rest_of_the_history(
    history: HistoryRepository, database: Database
) -> None:
    await add_ended(database, "a", 1)
    await add_ended(database, "b", 2)
    async with database.transaction() as connection:
        await connection.execute("UPDATE generate_record SET req_params = '{' WHERE task_id = 'a'")
    assert await ids(history) == ["b", "a"]


async def test_paths_become_urls_and_prompts_stay_as_they_are(
    history: HistoryRepository, database: Database
) -> None:
    task = make_task("a", prompt="/inputs/is a folder", uov_input_image="/inputs/x.png")
    await history.add_queued(task)
    await finish(database, "a", make_outcome(images=("/outputs/2026-11-23/a.png",)))
    stored = await history.get("a")
    assert stored is not None
    record = absolute(stored, "https://far.example/")
    assert record.result == ["https://far.example/outputs/2026-11-23/a.png"]
    assert record.req_params["uov_input_image"] == "https://far.example/inputs/x.png"
    assert record.req_params["prompt"] == "/inputs/is a folder"


def test_records_of_living_tasks_follow_the_published_examples() -> None:
    task = make_task("a")
    accepted = accepted_record(task)
    assert (accepted.id, accepted.task_status, accepted.progress) == (-1, "pending", -1)
    assert (accepted.req_params, accepted.preview, accepted.result) == ({}, "", [])
    pending = pending_record(task)
    assert (pending.id, pending.task_status, pending.result) == (-1, None, None)
    running = running_record(task, 2000, 18, "data:,")
    assert (running.finish_mills, running.task_status, running.result) == (-1, "running", [])
    assert running.req_params["prompt"] == "a cat"


async def test_family_and_key_name_stay_with_a_task_through_restarts_and_the_trash(
    database: Database, history: HistoryRepository
) -> None:
    delivery = Delivery(family="tiny", key="phone")
    task = msgspec.structs.replace(make_task("a"), delivery=delivery)
    await history.add_queued(task)
    (again,) = tasks_of(await history.unfinished())
    assert (again.delivery.family, again.delivery.key) == ("tiny", "phone")
    assert (pending_record(again).family, pending_record(again).key) == ("tiny", "phone")
    await finish(database, "a", make_outcome())
    record = await history.get("a")
    assert record is not None
    assert (record.family, record.key) == ("tiny", "phone")
    assert await delete_range(database, 0, DAY_MS) == [record]


async def test_what_another_process_commits_is_seen_at_once(
    history: HistoryRepository, database: Database, tmp_path: Path
) -> None:
    await add_ended(database, "a", 1)
    for prompt in ("a dog", "a bird"):
        with closing(sqlite3.connect(tmp_path / "db.sqlite3")) as other, other:
            params = f'{{"prompt": "{prompt}"}}'
            other.execute("UPDATE generate_record SET req_params = ?", (params,))
        record = await history.get("a")
        (listed,) = await history.page(page_size=10)
        assert record is not None
        assert record.req_params["prompt"] == listed.req_params["prompt"] == prompt
    with closing(sqlite3.connect(tmp_path / "db.sqlite3")) as other, other:
        other.execute("DELETE FROM generate_record")
    assert await history.get("a") is None
    assert await history.page(page_size=10) == []


async def test_an_end_that_is_written_while_its_row_is_read_is_told(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    unwritten = UnwrittenEnds()
    history = HistoryRepository(database, unwritten)
    await history.add_queued(make_task("a"))
    unwritten.add(EndedTask(task_id="a", outcome=make_outcome()))
    read = database.look_up

    async def look_up(sql: str, values: Mapping[str, object]) -> list[sqlite3.Row]:
        rows = await read(sql, values)
        await finish(database, "a", make_outcome())
        unwritten.discard("a")
        return rows

    monkeypatch.setattr(database, "look_up", look_up)
    record = await history.get("a")
    assert record is not None
    assert record.task_status == "finished"
