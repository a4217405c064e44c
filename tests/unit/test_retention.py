"""What is kept of the history: by age, number and size; favourites stay."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.scheduling.task import MadeImage
from storage.database import Database, open_database
from storage.gallery import GalleryRepository
from storage.history import HistoryRepository
from storage.limits import Limits
from storage.outputs import OutputStore
from storage.retention import Retention
from storage.trash import Trash
from tests.ended_tasks import empty, finish
from tests.unit.test_history import make_outcome, make_task

NOW = 1_000_000
PICTURE_BYTES = 1000


async def fill(database: Database, outputs: OutputStore, count: int) -> None:
    """Tasks a, b, c … of one picture each, a second apart; b is a favourite."""
    history = HistoryRepository(database)
    for index in range(count):
        made = MadeImage(data=b"." * PICTURE_BYTES, extension="png", seed=index, width=1, height=1)
        name = chr(ord("a") + index)
        await history.add_queued(make_task(name, NOW - (count - index) * 1000))
        await finish(database, name, make_outcome(images=(outputs.save(made),)))
    await GalleryRepository(database, HistoryRepository(database)).mark("b", favourite=True)


@pytest.mark.parametrize(
    ("limits", "gone"),
    [
        ({}, ""),
        ({"seconds": 3.5}, "a"),
        ({"seconds": 3.0}, "a"),  # c is just that old, and not older
        ({"seconds": 2.999}, "ac"),
        ({"tasks": 4}, "a"),
        ({"tasks": 2}, "ac"),
        ({"tasks": 1}, "acd"),
        ({"bytes": 5 * PICTURE_BYTES}, ""),
        ({"bytes": 5 * PICTURE_BYTES - 1}, "a"),
        ({"bytes": 3 * PICTURE_BYTES}, "ac"),
        ({"bytes": 1}, "acde"),
        ({"seconds": 3.5, "tasks": 3}, "a"),
    ],
)
async def test_the_oldest_go_and_favourites_stay(
    tmp_path: Path, limits: dict[str, Any], gone: str
) -> None:
    outputs = OutputStore(tmp_path / "outputs")
    async with open_database(tmp_path / "db.sqlite3") as database:
        await fill(database, outputs, 5)
        trash = Trash(database)
        retention = Retention(database, outputs, trash)
        thrown = ""
        while batch := await retention.discard_excess(Limits(**limits), NOW):
            thrown += "".join(record.task_id for record in batch)
            for record in await empty(trash, NOW):
                for path in record.result or ():
                    outputs.delete(path)
        left = await HistoryRepository(database).page()
        assert thrown == gone
        assert {record.task_id for record in left} == set("abcde") - set(gone)
        assert len(list((tmp_path / "outputs").glob("*/*.png"))) == 5 - len(gone)


def test_start_options_give_days_and_gigabytes() -> None:
    assert Limits.of(1.5, 3, 0.5) == Limits(seconds=129_600, tasks=3, bytes=500_000_000)


async def test_pictures_of_nobody_push_no_task_out(tmp_path: Path) -> None:
    outputs = OutputStore(tmp_path / "outputs")
    async with open_database(tmp_path / "db.sqlite3") as database:
        await fill(database, outputs, 5)
        (tmp_path / "outputs" / "2020-01-01").mkdir()
        (tmp_path / "outputs" / "2020-01-01" / "fooocus.png").write_bytes(b"." * 10**6)
        limits = Limits(bytes=5 * PICTURE_BYTES)
        assert await Retention(database, outputs, Trash(database)).discard_excess(limits, NOW) == []
