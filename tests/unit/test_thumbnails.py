"""Small forms of pictures on disk: none without its picture, none half written."""

import io
from pathlib import Path

import pytest
from PIL import Image

from pipeline.images.thumbnail import make_thumbnail
from pipeline.scheduling.task import MadeImage
from storage import thumbnails
from storage.outputs import THUMBNAILS, OutputStore
from storage.thumbnails import find_thumbnail, keep_thumbnail, read_picture


def save_picture(store: OutputStore) -> tuple[str, str]:
    """Its date and its file name."""
    buffer = io.BytesIO()
    Image.new("RGB", (600, 300), "red").save(buffer, "PNG")
    made = MadeImage(data=buffer.getvalue(), extension="png", seed=1, width=600, height=300)
    _, _, date, file = store.save(made).split("/")
    return date, file


def made_thumbnail(store: OutputStore, date: str, file: str) -> Path | None:
    assert find_thumbnail(store, date, file) is None
    data = read_picture(store, date, file)
    assert data is not None
    return keep_thumbnail(store, date, file, data)


def files_in(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def test_a_picture_deleted_while_its_small_form_is_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = OutputStore(tmp_path)
    date, file = save_picture(store)

    def make_slowly(data: bytes) -> bytes:
        store.delete(f"/outputs/{date}/{file}")
        return make_thumbnail(data)

    monkeypatch.setattr(thumbnails, "make_thumbnail", make_slowly)
    assert made_thumbnail(store, date, file) is None
    assert files_in(tmp_path) == []


def test_a_start_removes_what_a_crash_left_half_written(tmp_path: Path) -> None:
    store = OutputStore(tmp_path)
    date, file = save_picture(store)
    small = made_thumbnail(store, date, file)
    assert small == find_thumbnail(store, date, file)
    assert small is not None
    half = tmp_path / THUMBNAILS / date / f".{file}.webp.0123456789abcdef.part"
    half.write_bytes(b"half")
    OutputStore(tmp_path)
    assert not half.exists()
    assert small.is_file()
