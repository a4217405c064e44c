"""Cards of ended tasks: searched, filtered, counted, marked, deleted and brought back."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from storage.boards import Board, BoardRepository
from storage.database import Database, open_database
from storage.gallery import CardFilter, GalleryRepository
from storage.history import HistoryRepository
from storage.schema import MIGRATIONS
from storage.trash import Trash
from storage.unwritten import EndedTask, UnwrittenEnds
from tests.ended_tasks import empty, finish
from tests.unit.test_history import make_outcome, make_task


@pytest_asyncio.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "db.sqlite3") as database:
        yield database


@pytest.fixture
def gallery(database: Database) -> GalleryRepository:
    return GalleryRepository(database, HistoryRepository(database))


async def add(database: Database, task_id: str, status: str = "finished", **params: Any) -> None:
    history = HistoryRepository(database)
    queued = params.pop("queued_ms", 1000)
    await history.add_queued(make_task(task_id, queued, **params))
    images = (f"/outputs/2026-11-23/{task_id}.png",) if status == "finished" else ()
    await finish(database, task_id, make_outcome(status=status, images=images))


async def ids(gallery: GalleryRepository, **chosen: Any) -> str:
    wanted = CardFilter(**chosen)
    cards = await gallery.page(wanted, 0, 100)
    assert await gallery.count(wanted) == len(cards)
    return "".join(card.task_id for card in cards)


async def test_every_word_must_stand_in_the_prompt_in_any_order(
    database: Database, gallery: GalleryRepository
) -> None:
    await add(database, "a", prompt="A red star, 100% sharp")
    await add(database, "b", prompt="red moon")
    await add(database, "c", prompt="红色的星星 a_b")
    assert await ids(gallery, search="star RED") == "a"
    assert await ids(gallery, search="红色") == "c"
    assert await ids(gallery, search="%") == "a"
    assert await ids(gallery, search="a_b") == "c"
    assert await ids(gallery, search="") == "cba"
    assert await ids(gallery, search="red' OR 1=1 --") == ""


async def test_status_model_time_and_marks_choose_together(
    database: Database, gallery: GalleryRepository
) -> None:
    await add(database, "a", queued_ms=10, base_model_name="one")
    await add(database, "b", "failed", queued_ms=20, base_model_name="one")
    await add(database, "c", queued_ms=30, base_model_name="two")
    assert await ids(gallery, status="finished") == "ca"
    assert await ids(gallery, model="one") == "ba"
    assert await ids(gallery, start_ms=20, end_ms=30) == "cb"
    assert await gallery.mark("a", favourite=True)
    assert not await gallery.mark("a", favourite=True)
    assert await ids(gallery, favourite=True) == "a"
    assert await ids(gallery, favourite=True, model="two") == ""
    assert not await gallery.mark("nobody", favourite=True)
    summary = await gallery.summary()
    assert (summary.total, summary.favourites) == (3, 1)
    assert summary.statuses == {"finished": 2, "failed": 1}
    assert summary.models == {"one": 2, "two": 1}


async def test_a_card_has_what_a_gallery_shows(
    database: Database, gallery: GalleryRepository
) -> None:
    await add(database, "a", prompt="a cat", base_model_name="m")
    (card,) = await gallery.page(CardFilter(), 0, 10)
    assert (card.prompt, card.model, card.status) == ("a cat", "m", "finished")
    assert card.images == ["/outputs/2026-11-23/a.png"]
    assert card.favourite is False
    assert await gallery.page(CardFilter(), 1, 10) == []


async def test_tasks_that_wait_have_no_card(database: Database, gallery: GalleryRepository) -> None:
    await HistoryRepository(database).add_queued(make_task("a"))
    assert await ids(gallery) == ""


async def test_a_deleted_task_comes_back_whole_or_is_forgotten(
    database: Database, gallery: GalleryRepository
) -> None:
    history, trash = HistoryRepository(database), Trash(database)
    await add(database, "a", prompt="kept")
    await gallery.mark("a", favourite=True)
    before = await history.get("a")
    assert await trash.discard("a", until_ms=100)
    assert await history.get("a") is None
    assert await history.count() == 0
    assert await ids(gallery) == ""
    assert await empty(trash, 99) == []
    assert await trash.restore("a")
    assert await history.get("a") == before
    assert await ids(gallery, favourite=True) == "a"
    assert not await trash.restore("a")
    assert await trash.discard("a", until_ms=100)
    gone = await empty(trash, 100)
    assert [record.result for record in gone] == [["/outputs/2026-11-23/a.png"]]
    assert not await trash.restore("a")
    assert (await gallery.summary()).favourites == 0


async def test_only_ended_tasks_are_thrown_away(database: Database) -> None:
    await HistoryRepository(database).add_queued(make_task("a"))
    assert not await Trash(database).discard("a", until_ms=1)
    assert not await Trash(database).discard("nobody", until_ms=1)


async def test_a_history_from_before_the_gallery_is_all_in_it(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite3"
    with closing(sqlite3.connect(path)) as old:
        for statement in MIGRATIONS[0]:
            old.execute(statement)
        old.execute("PRAGMA user_version = 1")
        row = "INSERT INTO generate_record (task_id, req_params, task_status) VALUES (?, ?, ?)"
        old.execute(row, ("good", '{"prompt": "an old cat"}', "finished"))
        old.execute(row, ("damaged", "{not json", "finished"))
        old.execute(row, ("odd", '{"prompt": null, "base_model_name": {"a": 1}}', "failed"))
        old.commit()
    async with open_database(path) as database:
        gallery = GalleryRepository(database, HistoryRepository(database))
        assert await ids(gallery) == "odddamagedgood"
        assert await ids(gallery, search="old CAT") == "good"


async def test_single_pictures_are_paged_across_tasks(
    database: Database, gallery: GalleryRepository
) -> None:
    history = HistoryRepository(database)
    for number, count in enumerate((2, 0, 3, 1)):
        task_id = str(number)
        await history.add_queued(make_task(task_id, 1000 + number))
        images = tuple(f"/outputs/2026-11-23/{task_id}{at}.png" for at in range(count))
        status = "finished" if count else "failed"
        await finish(database, task_id, make_outcome(status=status, images=images))
    every = CardFilter()
    assert await gallery.count_pictures(every) == 6
    names = [(card.task_id, card.picture) for card in await gallery.pictures(every, 0, 100)]
    assert names == [("3", 0), ("2", 0), ("2", 1), ("2", 2), ("0", 0), ("0", 1)]
    for offset in range(7):
        for limit in range(1, 7):
            page = await gallery.pictures(every, offset, limit)
            assert [(c.task_id, c.picture) for c in page] == names[offset : offset + limit]
            assert all(len(card.images) == 1 for card in page)


async def test_the_pictures_of_named_tasks_come_in_their_order(database: Database) -> None:
    unwritten = UnwrittenEnds()
    gallery = GalleryRepository(database, HistoryRepository(database, unwritten))
    for task_id in "ab":
        await add(database, task_id)
    for task_id in ("open", "held"):
        await HistoryRepository(database).add_queued(make_task(task_id))
    outcome = make_outcome(images=("/outputs/2026-11-23/held.png",))
    unwritten.add(EndedTask(task_id="held", outcome=outcome))
    found = await gallery.pictures_of(["b", "open", "unknown", "held", "a", "b"])
    names = ["b", "", "", "held", "a", "b"]
    assert found == [[f"/outputs/2026-11-23/{name}.png"] if name else [] for name in names]


async def test_failed_tasks_are_hidden(database: Database, gallery: GalleryRepository) -> None:
    await add(database, "a")
    await add(database, "b", status="failed")
    await add(database, "c", status="stop")
    assert await ids(gallery, hide_failed=True) == "ca"


async def test_a_board_has_tasks_until_they_are_taken_off_or_gone_for_good(
    database: Database, gallery: GalleryRepository
) -> None:
    boards, trash = BoardRepository(database), Trash(database)
    for task_id in "abc":
        await add(database, task_id)
    await boards.change("Stars", ["a", "b", "nobody"], [])
    await boards.change("empty", [], [])
    assert await boards.all() == [Board("empty", 0), Board("Stars", 2)]
    assert await ids(gallery, board="Stars") == "ba"
    await boards.change("Stars", ["c"], ["b"])
    assert await boards.rename("Stars", "Suns")
    assert not await boards.rename("Stars", "Moons")
    assert not await boards.rename("Suns", "empty")
    assert await ids(gallery, board="Suns") == "ca"
    await trash.discard("a", 5)
    assert await ids(gallery, board="Suns") == "c"
    await trash.restore("a")
    assert await ids(gallery, board="Suns") == "ca"
    await trash.discard("a", 5)
    await trash.forget(await trash.expired(6, -1))
    await boards.delete("empty")
    assert await boards.all() == [Board("Suns", 1)]
    assert not await boards.delete("empty")
