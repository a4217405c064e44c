"""Rows read on the event loop: only while that holds nothing up."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from storage.database import Database, open_database
from storage.loop_reader import LOOK_EVERY, LoopReader, open_loop_reader

COUNT = "SELECT count(*) FROM focal_task"


async def fill(database: Database, name: str) -> None:
    async with database.transaction() as connection:
        await connection.execute("INSERT INTO focal_task (task_id) VALUES (?)", (name,))


def counted(rows: list[sqlite3.Row] | None) -> int | None:
    return None if rows is None else int(rows[0][0])


async def test_it_sees_each_commit_of_the_other_connections(tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite3"
    async with open_database(path) as database, open_loop_reader(path) as reader:
        assert counted(reader.fetch(COUNT, {})) == 0
        await fill(database, "a")
        assert counted(reader.fetch(COUNT, {})) == 1


async def test_a_file_that_outgrew_the_limit_is_left_to_a_thread(tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite3"
    async with open_database(path), open_loop_reader(path) as opened:
        del opened
        with closing(sqlite3.connect(path)) as connection:
            size = path.stat().st_size + path.with_name("db.sqlite3-wal").stat().st_size
            reader = LoopReader(path, connection, limit_bytes=size)
            assert counted(reader.fetch(COUNT, {})) == 0
            with closing(sqlite3.connect(path)) as other, other:
                other.execute("CREATE TABLE large AS SELECT randomblob(100000)")
            answers = [reader.fetch(COUNT, {}) for _ in range(LOOK_EVERY)]
        assert answers[-1] is None


async def test_a_locked_file_is_left_to_a_thread(tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite3"
    async with open_database(path):
        pass
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        async with open_loop_reader(path) as reader:
            other.execute("PRAGMA locking_mode = EXCLUSIVE")
            other.execute("BEGIN EXCLUSIVE")
            other.execute("INSERT INTO focal_task (task_id) VALUES ('a')")
            assert reader.fetch(COUNT, {}) is None


async def test_a_query_that_is_wrong_is_told_by_the_database(tmp_path: Path) -> None:
    async with open_database(tmp_path / "db.sqlite3") as database:
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            await database.look_up("SELECT * FROM absent", {})
