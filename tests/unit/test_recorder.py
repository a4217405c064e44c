"""Ends of tasks while the database is locked or full: kept, told, written later, never lost."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bus.supervision import Backoff
from pipeline.request.resolved import resolve_params
from pipeline.scheduling.task import Outcome
from storage.database import Database, open_database
from storage.gallery import CardFilter, GalleryRepository
from storage.history import HistoryRepository
from storage.outbox import Outbox
from storage.recorder import Recorder
from storage.unwritten import EndedTask, Journal, UnwrittenEnds
from tests.unit.test_history import make_outcome, make_task

DONE = make_outcome(images=("/outputs/2026-11-23/a.png",), notes={"model": "another"})
SOON = Backoff(first_s=0.001, limit_s=0.01)
NEVER = Backoff(first_s=3600.0, limit_s=3600.0)


@dataclass
class House:
    """A recorder with what it writes to."""

    path: Path
    database: Database
    history: HistoryRepository
    outbox: Outbox
    recorder: Recorder

    async def queue(self, *names: str) -> None:
        for at, name in enumerate(names):
            await self.history.add_queued(make_task(name, 1000 * (at + 1), prompt=f"a {name}"))

    async def end(self, *names: str, outcome: Outcome = DONE) -> None:
        for name in names:
            await self.recorder.on_ended(make_task(name), outcome)

    async def open_rows(self) -> list[str]:
        """What the database itself calls open."""
        rows = await self.database.fetch_all("SELECT task_id FROM focal_open ORDER BY id", {})
        return [row["task_id"] for row in rows]

    async def until_all_is_written(self) -> None:
        async with asyncio.timeout(5):
            while await self.open_rows():  # each look is a turn of the database's own thread
                pass


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.recorder.WRITE_WAIT_S", 0.01)
    monkeypatch.setattr("storage.outbox.WRITE_WAIT_S", 0.01)


@asynccontextmanager
async def house(folder: Path, pauses: Backoff = SOON) -> AsyncIterator[House]:
    path = folder / "db.sqlite3"
    async with open_database(path) as database:
        unwritten, outbox = UnwrittenEnds(), Outbox(database)
        history = HistoryRepository(database, unwritten)
        journal = Journal(folder / "journal")
        async with Recorder(database, history, outbox, unwritten, journal, pauses) as recorder:
            yield House(path, database, history, outbox, recorder)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process writes."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")


async def ids(history: HistoryRepository, *page: int) -> str:
    return "".join(record.task_id for record in await history.page(None, None, *page))


async def test_an_end_that_the_database_does_not_take_is_known_at_once_and_written_later(
    tmp_path: Path,
) -> None:
    async with house(tmp_path) as built:
        await built.queue("a", "b")
        with locked(built.path):
            await built.end("a")
            assert await built.open_rows() == ["a", "b"]
            held = await built.history.get("a")
            assert held is not None
            assert (held.task_status, held.result) == ("finished", list(DONE.images))
            assert await ids(built.history) == "a"
            assert await built.history.count() == 1
        async with asyncio.timeout(5):
            while await built.open_rows() != ["b"]:
                pass
        assert await built.history.get("a") == held  # notes, times and all
        assert await built.history.page() == [held]


async def test_a_full_database_keeps_an_end_as_a_locked_one_does(tmp_path: Path) -> None:
    large = make_outcome(notes={"words": "a" * 200_000})
    async with house(tmp_path, NEVER) as built:
        await built.queue("a")
        async with built.database.transaction() as connection:
            await connection.execute("PRAGMA max_page_count = 1")  # no more than it has
        await built.end("a", outcome=large)
        assert await built.open_rows() == ["a"]
        assert await ids(built.history) == "a"
        async with built.database.transaction() as connection:
            await connection.execute("PRAGMA max_page_count = 1000000")
    async with house(tmp_path) as built:
        assert await built.recorder.recover(None) == []
        record = await built.history.get("a")
    assert record is not None
    assert (record.task_status, record.notes) == ("finished", large.notes)


async def test_an_end_that_works_takes_the_waiting_ones_along(tmp_path: Path) -> None:
    async with house(tmp_path, NEVER) as built:
        await built.queue("a", "b", "c")
        with locked(built.path):
            await built.end("a", "b")
        await built.end("c")
        assert await built.open_rows() == []
        assert not (tmp_path / "journal").exists()


async def test_held_ends_stand_in_their_places_on_every_page(tmp_path: Path) -> None:
    async with house(tmp_path, NEVER) as built:
        await built.queue(*"abcdefg")
        await built.end(*"adf")
        with locked(built.path):
            await built.end(*"ceg")
            assert await ids(built.history) == "gfedca"
            pages = [await ids(built.history, page, 2) for page in range(4)]
            assert pages == ["gf", "ed", "ca", ""]
            ranged = await built.history.page(3000, 6000)
            assert [record.task_id for record in ranged] == list("fedc")
            assert await built.history.count(3000, 6000) == 4


async def test_the_gallery_shows_and_searches_held_ends(tmp_path: Path) -> None:
    async with house(tmp_path, NEVER) as built:
        gallery = GalleryRepository(built.database, built.history)
        await built.queue("ant", "bee", "cow")
        await built.end("ant")
        with locked(built.path):
            await built.end("bee", outcome=make_outcome(status="failed", error="no"))
            await built.end("cow")

            async def found(**chosen: Any) -> list[str]:
                cards = await gallery.page(CardFilter(**chosen), 0, 10)
                assert await gallery.count(CardFilter(**chosen)) == len(cards)
                return [card.task_id for card in cards]

            assert await found() == ["cow", "bee", "ant"]
            assert await found(status="failed") == ["bee"]
            assert await found(status="finished") == ["cow", "ant"]
            assert await found(search="A BEE") == ["bee"]
            assert await found(model="nothing like it") == []
            assert (await gallery.summary()).statuses == {"finished": 2, "failed": 1}


async def test_an_end_left_at_the_stop_is_written_by_the_next_start(tmp_path: Path) -> None:
    async with house(tmp_path, NEVER) as built:
        await built.queue("a", "b")
        lock = locked(built.path)
        lock.__enter__()
        await built.end("a")
    lock.__exit__(None, None, None)
    async with house(tmp_path) as built:
        left = await built.recorder.recover(lambda params, _present: resolve_params(params))
        assert [row.task.task_id for row in left] == ["b"]
        assert await built.open_rows() == ["b"]
        assert await ids(built.history) == "a"
    assert not (tmp_path / "journal").exists()


async def test_a_task_whose_end_is_only_in_the_journal_is_not_made_again(tmp_path: Path) -> None:
    async with house(tmp_path, NEVER) as built:
        await built.queue("a")
    # As after a crash: nothing had the time to write it.
    Journal(tmp_path / "journal").append([EndedTask(task_id="a", outcome=DONE)])
    async with house(tmp_path) as built:
        with locked(built.path):
            assert await built.recorder.recover(None) == []
            assert await ids(built.history) == "a"
        await built.until_all_is_written()
        record = await built.history.get("a")
    assert record is not None
    assert record.task_status == "finished"


async def test_an_end_is_in_the_journal_before_anybody_is_told(tmp_path: Path) -> None:
    async with house(tmp_path, NEVER) as built:
        await built.queue("a")
        with locked(built.path):
            await built.end("a")
            assert Journal(tmp_path / "journal").read() == [
                EndedTask(task_id="a", outcome=DONE, base_url="http://here:1")
            ]


async def test_a_webhook_owed_for_a_held_end_is_due_now_and_owed_once(tmp_path: Path) -> None:
    async with house(tmp_path, NEVER) as built:
        await built.queue("a", "b")
        with locked(built.path):
            for name in "ab":
                task = make_task(name)
                delivery = msgspec.structs.replace(
                    task.delivery, webhook_url=f"http://there/{name}"
                )
                await built.recorder.on_ended(
                    msgspec.structs.replace(task, delivery=delivery), DONE
                )
            assert [due.url for due in await built.outbox.next(9)] == [
                "http://there/a",
                "http://there/b",
            ]
            await built.outbox.settle("a")  # delivered meanwhile
            assert [due.task_id for due in await built.outbox.next(9)] == ["b"]
        await built.queue("c")
        await built.end("c")  # takes the others along
        assert await built.open_rows() == []
        assert [due.task_id for due in await built.outbox.next(9)] == ["b"]
        rows = await built.database.fetch_all("SELECT task_id FROM webhook_delivery", {})
        assert [row["task_id"] for row in rows] == ["b"]


async def test_tries_that_cannot_be_counted_in_the_database_are_counted_all_the_same(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, NEVER) as built:
        await built.queue("a")
        task = make_task("a")
        delivery = msgspec.structs.replace(task.delivery, webhook_url="http://there/")
        await built.recorder.on_ended(msgspec.structs.replace(task, delivery=delivery), DONE)
        (due,) = await built.outbox.next(9)
        with locked(built.path):
            await built.outbox.count_try(msgspec.structs.replace(due, tries=1, next_mills=77))
            (later,) = await built.outbox.next(9)
            assert (later.tries, later.next_mills) == (1, 77)
            await built.outbox.settle("a")
            assert await built.outbox.next(9) == []


def test_a_journal_that_a_crash_cut_short_gives_what_is_whole(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    assert journal.read() == []
    first, second = (EndedTask(task_id=name, outcome=DONE) for name in "ab")
    journal.append([first])
    with (tmp_path / "journal").open("ab") as file:
        file.write(b'{"task_id": "cut sh')
    journal.append([second])
    assert journal.read() == [first, second]
    journal.clear()
    journal.clear()
    assert journal.read() == []
