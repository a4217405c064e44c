"""The queue's order and pause, kept on disk."""

import sqlite3
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import pytest

from pipeline.request.resolved import resolve_params
from pipeline.scheduling.queue import PriorityQueue, Waiting
from storage.database import open_database
from storage.history import HistoryRepository
from storage.open_rows import OpenRow
from storage.queue_state import QueueState
from storage.schema import MIGRATIONS
from tests.ended_tasks import finish
from tests.unit.test_history import make_outcome, make_task


def queue_of(entries: list[Waiting]) -> PriorityQueue:
    queue = PriorityQueue()
    for entry in entries:
        queue.add(entry)
    return queue


def order(queue: PriorityQueue) -> list[tuple[str, int]]:
    return [(entry.task.task_id, entry.priority) for entry in queue.entries()]


async def open_rows(history: HistoryRepository) -> list[OpenRow]:
    rows = (await history.unfinished()).rows
    return [row.resolved(resolve_params(row.params)) for row in rows]


async def test_an_order_survives_and_newcomers_stand_behind_it(tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite3"
    async with open_database(path) as database:
        history, state = HistoryRepository(database), QueueState(database)
        for name in "abcd":
            await history.add_queued(make_task(name))
        queue = queue_of(await state.arranged(await open_rows(history)))
        assert order(queue) == [("a", 0), ("b", 0), ("c", 0), ("d", 0)]
        for moved in (queue.prioritise("c", 3), queue.move("a", 2), queue.move("b", 2)):
            assert moved is not None
            await state.save(moved)
        arranged = order(queue)
        assert arranged == [("c", 3), ("a", 0), ("b", 0), ("d", 0)]
        await history.add_queued(make_task("e"))
    async with open_database(path) as database:
        rows = await open_rows(HistoryRepository(database))
        entries = await QueueState(database).arranged(rows)
        assert order(queue_of(entries)) == [*arranged, ("e", 0)]


async def test_the_order_of_ended_tasks_is_forgotten(tmp_path: Path) -> None:
    async with open_database(tmp_path / "db.sqlite3") as database:
        history, state = HistoryRepository(database), QueueState(database)
        for name in "ab":
            await history.add_queued(make_task(name))
            await state.save(Waiting(task=make_task(name), priority=2, order=Fraction(21, 2)))
        await finish(database, "a", make_outcome())
        await state.arranged([])
        rows = await database.fetch_all("SELECT task_id, rank FROM focal_order", {})
        assert [tuple(row) for row in rows] == [("b", "21/2")]


async def test_an_order_saved_by_the_version_before_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite3"
    with closing(sqlite3.connect(path)) as old:
        for statement in (sql for step in MIGRATIONS[:2] for sql in step):
            old.execute(statement)
        for task_id, place, priority in (("b", 1, 0), ("c", 0, 5), ("a", 2, -1)):
            old.execute("INSERT INTO focal_place VALUES (?, ?, ?)", (task_id, place, priority))
        for task_id in "abcd":
            old.execute(
                "INSERT INTO generate_record (task_id, req_params) VALUES (?, '{}')", (task_id,)
            )
        old.execute("PRAGMA user_version = 2")
        old.commit()
    async with open_database(path) as database:
        rows = [OpenRow(id=i + 1, task=make_task(name)) for i, name in enumerate("abcd")]
        entries = await QueueState(database).arranged(rows)
        assert order(queue_of(entries)) == [("c", 5), ("b", 0), ("d", 0), ("a", -1)]


@pytest.mark.parametrize("paused", [True, False])
async def test_a_pause_is_remembered_until_it_is_taken_back(tmp_path: Path, paused: bool) -> None:
    path = tmp_path / "db.sqlite3"
    async with open_database(path) as database:
        state = QueueState(database)
        assert not await state.is_paused()
        await state.save_paused(True)
        await state.save_paused(paused)
    async with open_database(path) as database:
        assert await QueueState(database).is_paused() is paused
