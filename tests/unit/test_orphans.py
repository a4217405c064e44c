"""Pictures that a crash leaves to nobody go at the next start; nobody else's do."""

from pathlib import Path

import pytest

from pipeline.errors import SavingFailed
from pipeline.scheduling.task import MadeImage
from storage.database import open_database
from storage.history import HistoryRepository
from storage.orphans import remove_orphans
from storage.outputs import OutputStore
from storage.trash import Trash
from storage.unrecorded import UnrecordedPictures
from tests.ended_tasks import finish
from tests.unit.test_history import make_outcome, make_task


def picture(seed: int = 0) -> MadeImage:
    return MadeImage(data=b"picture", extension="png", seed=seed, width=1, height=1)


def files(root: Path) -> set[str]:
    return {path.name for path in root.glob("*/*.png")}


def name_of(path: str) -> str:
    return path.rpartition("/")[2]


async def test_only_what_no_row_names_goes(tmp_path: Path) -> None:
    root = tmp_path / "outputs"
    async with open_database(tmp_path / "db.sqlite3") as database:
        history, trash = HistoryRepository(database), Trash(database)
        outputs = OutputStore(root)
        saved = {name: outputs.save(picture(), task_id=name) for name in ("ended", "open", "trash")}
        repeated = outputs.save(picture(), task_id="ended")
        for name in saved:
            await history.add_queued(make_task(name))
        for name in ("ended", "trash"):
            await finish(database, name, make_outcome(images=(saved[name],)))
        assert await trash.discard("trash", until_ms=10**15)
        persons = root / saved["open"].split("/")[2] / "2026-11-28_10-00-00_0001.png"
        persons.write_bytes(b"a person's")
        assert await remove_orphans(history, trash, OutputStore(root)) == 2
    assert files(root) == {name_of(saved["ended"]), name_of(saved["trash"]), persons.name}
    assert name_of(repeated) not in files(root)
    assert OutputStore(root).unsettled() == []


def test_a_file_that_took_the_name_of_a_noted_picture_stays(tmp_path: Path) -> None:
    outputs = OutputStore(tmp_path)
    path = outputs.save(picture(), task_id="a")
    file = tmp_path / path.removeprefix("/outputs/")
    other = file.with_name("other.png")
    other.write_bytes(b"a person's")
    file.unlink()
    other.rename(file)
    assert outputs.settle("a", ()) == 0
    assert file.read_bytes() == b"a person's"


def test_a_picture_without_a_name_yet_is_none(tmp_path: Path) -> None:
    notes = UnrecordedPictures(tmp_path)
    (tmp_path / "a").write_bytes(b"12 /outputs/2026-11-28/x.png\n13 /outputs/20")
    assert [noted.inode for noted in notes.of("a")] == [12]
    (tmp_path / "b").write_bytes(b"\xff\xfe x\n\n")
    assert notes.of("b") == []
    assert notes.of("../a") == []


def test_a_settled_task_leaves_no_note(tmp_path: Path) -> None:
    outputs = OutputStore(tmp_path)
    path = outputs.save(picture(), task_id="a")
    assert outputs.unsettled() == ["a"]
    assert outputs.settle("a", (path,)) == 0
    assert outputs.unsettled() == []
    assert outputs.read(path) == b"picture"


@pytest.mark.parametrize("allowed", [True, False])
def test_a_linked_day_is_written_and_served_by_one_rule(tmp_path: Path, allowed: bool) -> None:
    disk, root = tmp_path / "disk", tmp_path / "outputs"
    disk.mkdir()
    root.mkdir()
    day = OutputStore(tmp_path / "clock").save(picture()).split("/")[2]
    (root / day).symlink_to(disk)
    outputs = OutputStore(root, [tmp_path / "disk"] if allowed else [])
    if allowed:
        path = outputs.save(picture())
        assert outputs.read(path) == b"picture"
        outputs.delete(path)
    else:
        with pytest.raises(SavingFailed, match="outputs-roots"):
            outputs.save(picture())
    assert list(disk.iterdir()) == []
