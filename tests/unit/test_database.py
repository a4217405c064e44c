"""The database file: made, migrated, and left usable by every interruption."""

import asyncio
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest

from storage.database import Database, DatabaseTooNew, open_database
from storage.history import HistoryRepository

# As SQLAlchemy's create_all writes it for the reference server's model.
REFERENCE_TABLE = """
CREATE TABLE generate_record (
\tid INTEGER NOT NULL,
\ttask_id VARCHAR(255) NOT NULL,
\treq_params JSON NOT NULL,
\tin_queue_mills INTEGER,
\tstart_mills INTEGER,
\tfinish_mills INTEGER,
\ttask_status VARCHAR(255),
\tprogress FLOAT,
\twebhook_url VARCHAR(255),
\tresult JSON,
\tPRIMARY KEY (id)
)
"""
REFERENCE_ROW = """
INSERT INTO generate_record VALUES (71, '85c10c81e9e2482d90a64c3704137d3a', '{"prompt": "a cat"}',
    1720085748199, 1720085748425, 1720085770046, 'finished', 100.0, '',
    '["http://127.0.0.1:7866/outputs/2024-07-04/2024-07-04_17-36-09_5201.png"]')
"""


def make_reference_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(REFERENCE_TABLE)
        connection.execute(REFERENCE_ROW)
        connection.commit()


async def insert(database: Database, task_id: str) -> None:
    async with database.transaction() as connection:
        await connection.execute("INSERT INTO focal_task (task_id) VALUES (?)", (task_id,))


async def fail_in_the_middle(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute("INSERT INTO focal_task (task_id) VALUES ('a')")
        raise RuntimeError("in the middle")


async def count(database: Database) -> int:
    row = await database.fetch_one("SELECT count(*) FROM focal_task", {})
    assert row is not None
    return int(row[0])


async def test_a_database_of_the_reference_server_keeps_its_table_and_its_rows(
    tmp_path: Path,
) -> None:
    path = tmp_path / "db.sqlite3"
    make_reference_database(path)
    async with open_database(path) as database:
        record = await HistoryRepository(database).get("85c10c81e9e2482d90a64c3704137d3a")
    assert record is not None
    assert (record.id, record.req_params, record.progress) == (71, {"prompt": "a cat"}, 100)
    assert record.result == ["/outputs/2024-07-04/2024-07-04_17-36-09_5201.png"]
    with closing(sqlite3.connect(path)) as connection:
        (table,) = connection.execute(
            "SELECT sql FROM sqlite_master WHERE name = 'generate_record'"
        ).fetchone()
        stored = connection.execute("SELECT result FROM generate_record").fetchone()
    assert table == REFERENCE_TABLE.strip()
    assert stored[0].startswith('["http://')


async def test_rows_that_the_reference_server_adds_later_are_counted_too(tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite3"
    async with open_database(path) as database:
        with closing(sqlite3.connect(path)) as other:
            other.execute(REFERENCE_ROW)
            other.commit()
        history = HistoryRepository(database)
        assert await history.count() == 1
        assert [record.id for record in await history.page(page_size=10)] == [71]


async def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    for expected in (0, 1):
        async with open_database(tmp_path / "db.sqlite3") as database:
            assert await count(database) == expected
            await insert(database, f"t{expected}")


async def test_a_file_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 999")
    with pytest.raises(DatabaseTooNew, match="version 999"):
        async with open_database(path):
            pass


async def test_a_failed_block_is_rolled_back(tmp_path: Path) -> None:
    async with open_database(tmp_path / "db.sqlite3") as database:
        with pytest.raises(RuntimeError, match="in the middle"):
            await fail_in_the_middle(database)
        await insert(database, "b")
        assert await count(database) == 1


async def test_readers_see_what_is_committed_and_do_not_wait_for_a_writer(tmp_path: Path) -> None:
    async with open_database(tmp_path / "db.sqlite3") as database:
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO focal_task (task_id) VALUES ('a')")
            async with asyncio.timeout(2):
                assert await count(database) == 0
        assert await count(database) == 1


async def test_a_write_cancelled_at_any_point_leaves_the_database_usable(tmp_path: Path) -> None:
    async with open_database(tmp_path / "db.sqlite3") as database:
        for ticks in range(16):
            write = asyncio.create_task(insert(database, f"a{ticks}"))
            for _ in range(ticks):
                await asyncio.sleep(0)
            write.cancel()
            await asyncio.wait([write])
            async with asyncio.timeout(2):
                await insert(database, f"b{ticks}")
        rows = await database.fetch_all("SELECT task_id FROM focal_task", {})
        assert {f"b{ticks}" for ticks in range(16)} <= {row[0] for row in rows}


async def test_writes_behind_one_that_found_the_file_locked_do_not_wait_as_well(
    tmp_path: Path,
) -> None:
    path = tmp_path / "db.sqlite3"
    async with open_database(path, busy_s=0.5) as database:
        with closing(sqlite3.connect(path)) as other:
            other.execute("BEGIN IMMEDIATE")
            async with asyncio.timeout(5):  # one after the other: 10 s
                found = await asyncio.gather(
                    *(insert(database, f"t{i}") for i in range(20)), return_exceptions=True
                )
            assert {type(error) for error in found} == {sqlite3.OperationalError}
            seen = [database.is_locked]
        await database.probe()
        assert [*seen, database.is_locked] == [True, False]
        await insert(database, "a")


async def test_a_write_waits_for_this_process_s_own_writes_as_long_as_they_take(
    tmp_path: Path,
) -> None:
    async with open_database(tmp_path / "db.sqlite3", busy_s=0.0) as database:
        async with database.transaction():
            waiting = asyncio.create_task(insert(database, "a"))
            await database.probe()
        await waiting
        assert not database.is_locked


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "db.sqlite3") as database:
        yield database


def add(name: str) -> Callable[[sqlite3.Connection], int]:
    def work(connection: sqlite3.Connection) -> int:
        connection.execute("INSERT INTO focal_task (task_id) VALUES (?)", (name,))
        return 7

    return work


async def test_a_write_is_committed_when_it_returns(database: Database, tmp_path: Path) -> None:
    assert await database.write(add("a")) == 7
    with closing(sqlite3.connect(tmp_path / "db.sqlite3")) as other:
        assert other.execute("SELECT task_id FROM focal_task").fetchall() == [("a",)]


async def test_a_write_that_fails_leaves_nothing_and_the_next_one_works(database: Database) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        add("a")(connection)
        raise RuntimeError("in the middle")

    def refuse() -> None:
        raise PermissionError("no")

    with pytest.raises(RuntimeError):
        await database.write(fail)
    with pytest.raises(sqlite3.IntegrityError):
        await database.write(lambda connection: [add("b")(connection) for _ in range(2)])
    with pytest.raises(PermissionError):
        await database.write(add("c"), refuse)
    assert await count(database) == 0
    await database.write(add("a"))
    assert await count(database) == 1


async def test_a_write_whose_caller_is_cancelled_ends_before_the_next_begins(
    database: Database,
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(connection: sqlite3.Connection) -> None:
        begun.set()
        go_on.wait(10)
        add("a")(connection)

    first = asyncio.create_task(database.write(slow))
    await asyncio.to_thread(begun.wait, 10)
    first.cancel()
    second = asyncio.create_task(insert(database, "b"))
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(first, 10)
    await asyncio.wait_for(second, 10)
    assert await count(database) == 2


async def test_another_process_that_comes_and_goes_leaves_the_log_where_it_is(
    tmp_path: Path,
) -> None:
    """It would remove the log as the last user, had this process given up its locks on the file."""
    path = tmp_path / "db.sqlite3"
    async with open_database(path):
        pass
    visit = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1])"
    visit += "; c.execute('BEGIN IMMEDIATE'); c.execute('ROLLBACK'); c.close()"
    async with open_database(path) as database:
        await database.write(lambda connection: connection.execute("CREATE TABLE kept (a)"))
        log = path.with_name("db.sqlite3-wal")
        before = log.stat().st_ino
        visitor = await asyncio.create_subprocess_exec(sys.executable, "-c", visit, str(path))
        assert await visitor.wait() == 0
        assert log.stat().st_ino == before
