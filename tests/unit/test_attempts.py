"""Unfinished runs are counted over restarts, until the task ends."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pipeline.request.resolved import resolve_params
from pipeline.request.schema import GenerateParams
from pipeline.scheduling.task import Outcome, Task, TaskStatus
from storage.attempts import AttemptCounter
from storage.database import Database, open_database
from storage.history import HistoryRepository
from tests.ended_tasks import finish

TASK = "a" * 32


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[tuple[AttemptCounter, HistoryRepository, Database]]:
    async with open_database(folder / "db.sqlite3") as database:
        yield AttemptCounter(database), HistoryRepository(database), database


async def add_task(history: HistoryRepository) -> None:
    request = resolve_params(GenerateParams())
    await history.add_queued(Task(task_id=TASK, request=request, in_queue_mills=1))


async def test_runs_are_counted_over_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as (attempts, _, _):
        assert await attempts.begin(TASK) == 1
    async with opened(tmp_path) as (attempts, _, _):
        assert await attempts.begin(TASK) == 2
        assert await attempts.begin("another") == 1


async def test_a_run_that_the_server_broke_off_does_not_count(tmp_path: Path) -> None:
    async with opened(tmp_path) as (attempts, _, _):
        await attempts.begin(TASK)
        await attempts.begin(TASK)
        await attempts.forgive(TASK)
        await attempts.forgive("another")
        assert await attempts.begin(TASK) == 2


@pytest.mark.parametrize("status", ["finished", "stop", "skip", "failed"])
async def test_a_task_that_ends_has_no_count(tmp_path: Path, status: TaskStatus) -> None:
    async with opened(tmp_path) as (attempts, history, database):
        await add_task(history)
        await attempts.begin(TASK)
        assert await finish(database, TASK, Outcome(status=status, finished_mills=2))
        assert await database.fetch_all("SELECT * FROM focal_attempt", {}) == []


async def test_a_deleted_row_leaves_no_count(tmp_path: Path) -> None:
    async with opened(tmp_path) as (attempts, history, database):
        await add_task(history)
        await attempts.begin(TASK)
        async with database.transaction() as connection:
            await connection.execute("DELETE FROM generate_record")
        assert await database.fetch_all("SELECT * FROM focal_attempt", {}) == []


async def test_a_run_begins_although_it_cannot_be_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(tmp_path) as (attempts, _, database):
        async with database.transaction() as connection:
            await connection.execute("DROP TABLE focal_attempt")
        assert await attempts.begin(TASK) == 1
        await attempts.forgive(TASK)
        with pytest.raises(sqlite3.OperationalError):
            await database.fetch_all("SELECT * FROM focal_attempt", {})
    assert "is not counted" in caplog.text
