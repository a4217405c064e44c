"""Input pictures: stored once, by content."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storage.inputs import InputStore


def test_the_same_bytes_are_stored_once_under_their_hash(tmp_path: Path) -> None:
    store = InputStore(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(lambda _: store.store(b"picture", "png"), range(20)))
    assert paths == {f"/inputs/{hashlib.sha256(b'picture').hexdigest()}.png"}
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"picture"]


def test_a_stored_input_is_found_and_nothing_outside_the_folder_is(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    store = InputStore(tmp_path / "inputs")
    name = store.store(b"picture", "webp").rpartition("/")[2]
    assert store.resolve(name) == (tmp_path / "inputs" / name).resolve()
    for file in ("../secret.png", "..", "", "/etc/passwd", "..%2fsecret.png", "a\0.png"):
        assert store.resolve(file) is None


def test_what_a_crash_left_half_written_is_removed_at_the_next_start(tmp_path: Path) -> None:
    (tmp_path / ".abc.png.part").write_bytes(b"ha")
    InputStore(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_extension_is_never_a_path(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no picture format"):
        InputStore(tmp_path).store(b"x", "../png")
