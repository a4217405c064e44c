"""Many pictures as one zip file that is never whole in memory or on the disk."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
from zipstream import ZipStream

from storage.outputs import OutputStore

PIECE_BYTES: Final = 2**20


class Archive(msgspec.Struct, frozen=True):
    """A zip file to be sent: how long it will be, and its bytes as they are read."""

    size: int
    pieces: AsyncIterator[bytes]


async def archive_of(outputs: OutputStore, paths: Iterable[str]) -> Archive | None:
    """The pictures of these stored paths, uncompressed: they are compressed as they are.

    Paths of no picture are left out; None where nothing is left. A picture that is deleted while
    it is sent raises OSError in ``pieces``.
    """
    stream = await asyncio.to_thread(_stream, outputs, tuple(dict.fromkeys(paths)))
    return None if stream is None else Archive(len(stream), _pieces(iter(stream)))


def _stream(outputs: OutputStore, paths: tuple[str, ...]) -> ZipStream | None:
    stream = ZipStream(sized=True)
    for name, path in _found(outputs, paths):
        with suppress(FileNotFoundError):  # deleted since it was found
            stream.add_path(path, name, recurse=False)
    return stream if stream.num_queued() else None


def _found(outputs: OutputStore, paths: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    """Each picture's name in the archive, which is its day and its file name; and its file."""
    for path in paths:
        match path.split("/"):
            case ["", "outputs", date, file]:
                found = outputs.resolve(date, file)
                if found is not None:
                    yield f"{date}/{file}", found


async def _pieces(source: Iterator[bytes]) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(_next, source):
        yield piece


def _next(source: Iterator[bytes]) -> bytes:
    """The next piece, of at least ``PIECE_BYTES`` but for the last; b"" at the end."""
    piece = bytearray()
    for part in source:
        piece += part
        if len(piece) >= PIECE_BYTES:
            break
    return bytes(piece)
