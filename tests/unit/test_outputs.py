"""Pictures on disk: whole or absent, never replaced, never outside their folder."""

import errno
import os
import re
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest

from pipeline.errors import SavingFailed
from pipeline.scheduling.task import MadeImage
from storage.outputs import OutputStore

WHEN = datetime(2026, 11, 23, 16, 5, 9)  # noqa: DTZ001 - names are in local time


def make_image(data: bytes = b"picture", extension: str = "png") -> MadeImage:
    return MadeImage(data=data, extension=extension, seed=1, width=8, height=8)


@pytest.fixture
def store(tmp_path: Path) -> OutputStore:
    return OutputStore(tmp_path / "outputs")


def files_in(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*") if path.is_file())


def test_a_picture_is_named_by_its_local_time_and_read_back(store: OutputStore) -> None:
    path = store.save(make_image(), WHEN)
    assert re.fullmatch(r"/outputs/2026-11-23/2026-11-23_16-05-09_[0-9]{4}\.png", path)
    assert store.read(path) == b"picture"
    found = store.resolve(*path.split("/")[2:])
    assert found is not None
    assert found.read_bytes() == b"picture"


def test_many_pictures_of_one_second_never_replace_each_other(store: OutputStore) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = [make_image(str(i).encode()) for i in range(100)]
        paths = list(pool.map(lambda image: store.save(image, WHEN), made))
    assert [store.read(path) for path in paths] == [image.data for image in made]


def test_a_full_disk_is_told_without_a_path_and_leaves_nothing(
    store: OutputStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SavingFailed, match="the disk is full") as caught:
        store.save(make_image(), WHEN)
    assert str(tmp_path) not in str(caught.value)
    assert files_in(tmp_path) == []


def test_a_folder_that_cannot_be_made_fails_the_saving(tmp_path: Path) -> None:
    store = OutputStore(tmp_path)
    (tmp_path / "2026-11-23").write_text("in the way")
    with pytest.raises(SavingFailed) as caught:
        store.save(make_image(), WHEN)
    assert str(tmp_path) not in str(caught.value)


def test_a_kill_between_writing_and_naming_leaves_no_picture_and_the_next_start_cleans_up(
    tmp_path: Path,
) -> None:
    code = """
        import os, signal, sys
        from pathlib import Path
        from pipeline.scheduling.task import MadeImage
        from storage.outputs import OutputStore

        os.link = lambda *names: os.kill(os.getpid(), signal.SIGKILL)
        image = MadeImage(data=b"half", extension="png", seed=1, width=8, height=8)
        OutputStore(Path(sys.argv[1])).save(image)
    """
    arguments = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    done = subprocess.run(arguments, check=False, timeout=30)
    assert done.returncode == -9
    (left,) = files_in(tmp_path)
    assert left.endswith(".part")
    OutputStore(tmp_path)
    assert files_in(tmp_path) == []


@pytest.mark.parametrize(
    ("date", "file"),
    [
        ("..", "secret.png"),
        ("2026-11-23", "../secret.png"),
        ("2026-11-23", "..\\secret.png"),
        ("2026-11-23", "..%2fsecret.png"),
        ("2026-11-23", "/etc/passwd.png"),
        ("2026-11-23", "a.png\0.txt"),
        ("2026-11-23", "a\n.png"),
        ("2026-11-23", "a.txt"),
        ("2026-11-23", ".hidden.png"),
        ("2026-11-23", "CON.png"),
        ("2026-11-23", "a.png:stream.png"),
        ("2026-11-23", "link.png"),
        ("2026-11-23", "folder.png"),
        ("2026-11-23", "absent.png"),
        ("2026-11-23", "x" * 5000 + ".png"),
        ("2026-11-23", ""),
        ("2026-11-24", "secret.png"),  # a linked folder
        ("2026-11-23/..", "secret.png"),
        ("inputs", "secret.png"),
    ],
)
def test_nothing_outside_the_folder_and_nothing_but_pictures_is_found(
    tmp_path: Path, date: str, file: str
) -> None:
    root = tmp_path / "outputs"
    folder = root / "2026-11-23"
    folder.mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(b"secret")
    for name in ("a.txt", ".hidden.png", "CON.png"):
        (folder / name).write_bytes(b"x")
    (folder / "folder.png").mkdir()
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "2026-11-24").symlink_to(tmp_path)
    store = OutputStore(root)
    assert store.resolve(date, file) is None
    store.delete(f"/outputs/{date}/{file}")
    assert (tmp_path / "secret.png").exists()


@pytest.mark.parametrize(
    "path", ["/inputs/a.png", "a.png", "", "/outputs/a.png", "/outputs/2026-11-23/../../x.png"]
)
def test_only_a_stored_output_path_is_read_or_deleted(store: OutputStore, path: str) -> None:
    store.delete(path)
    with pytest.raises(FileNotFoundError):
        store.read(path)


def test_a_deleted_picture_is_gone_and_may_be_deleted_again(store: OutputStore) -> None:
    path = store.save(make_image(extension="jpeg"), WHEN)
    store.delete(path)
    store.delete(path)
    with pytest.raises(FileNotFoundError):
        store.read(path)
