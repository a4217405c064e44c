"""A zip of many pictures: flat memory."""

import io
import os
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from handlers.service.archive import PIECE_BYTES, archive_of
from storage.outputs import OutputStore

PICTURES = 500
PICTURE_BYTES = 300_000


async def test_500_pictures_take_the_memory_of_a_few_pieces(tmp_path: Path) -> None:
    outputs = OutputStore(tmp_path)
    day = tmp_path / "2026-11-28"
    day.mkdir()
    first = day / "first.png"
    first.write_bytes(os.urandom(PICTURE_BYTES))
    paths = []
    for number in range(PICTURES):
        os.link(first, day / f"{number}.png")
        paths.append(f"/outputs/2026-11-28/{number}.png")
    tracemalloc.start()
    try:
        archive = await archive_of(outputs, paths)
        assert archive
        sent = 0
        async for piece in archive.pieces:
            sent += len(piece)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sent == archive.size > PICTURES * PICTURE_BYTES
    assert peak < 8 * PIECE_BYTES


async def test_a_picture_deleted_since_it_was_found_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = OutputStore(tmp_path)
    stays = tmp_path / "stays.png"
    stays.write_bytes(b"png")
    monkeypatch.setattr(outputs, "resolve", lambda _date, file: tmp_path / file)
    paths = [f"/outputs/2026-11-28/{name}.png" for name in ("gone", "stays")]
    archive = await archive_of(outputs, paths)
    assert archive
    data = b"".join([piece async for piece in archive.pieces])
    assert zipfile.ZipFile(io.BytesIO(data)).namelist() == ["2026-11-28/stays.png"]
    assert await archive_of(outputs, paths[:1]) is None
