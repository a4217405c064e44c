"""Ends of tasks that the database has not taken: in memory, and in a journal beside it."""

import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from pipeline.scheduling.task import Outcome

log = logging.getLogger(__name__)

RESERVED_BYTES: Final = 2**16  # some 200 ends

_encode = msgspec.json.Encoder().encode


class EndedTask(msgspec.Struct, frozen=True, kw_only=True):
    """What closing a row takes. ``webhook_url`` is "" where no webhook is owed."""

    task_id: str
    outcome: Outcome
    webhook_url: str = ""
    base_url: str = ""


_decode = msgspec.json.Decoder(EndedTask).decode


class UnwrittenEnds:
    """Ended tasks whose rows are still open, by task id. Event loop only.

    Whoever reads rows takes these into account: a row here is ended, whatever it says itself.
    """

    def __init__(self) -> None:
        self._ended: dict[str, EndedTask] = {}

    def __len__(self) -> int:
        return len(self._ended)

    def __iter__(self) -> Iterator[EndedTask]:
        """In the order in which they ended."""
        return iter(tuple(self._ended.values()))

    def __contains__(self, task_id: object) -> bool:
        return task_id in self._ended

    def add(self, ended: EndedTask) -> None:
        """Remember an end. A task ends once: a second one is left out."""
        self._ended.setdefault(ended.task_id, ended)

    def discard(self, task_id: str) -> None:
        """The row is closed."""
        self._ended.pop(task_id, None)

    def get(self, task_id: str) -> EndedTask | None:
        """The end of a task; None if its row has it, or it has not ended."""
        return self._ended.get(task_id)


class Journal:
    """A file of ended tasks, one JSON object a line. All methods block.

    It outlives a crash or a stop during which the database could not be written; the next start
    writes what it holds. An entry whose row is closed meanwhile does no harm. Its room is taken
    beforehand, as empty lines that entries replace: it is needed most when the disk is full.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_reserved = False

    def reserve(self) -> None:
        """Take the room for some entries, for as long as the journal is used. Raises OSError."""
        self._is_reserved = True
        with self._path.open("ab") as file:
            if (missing := RESERVED_BYTES - file.tell()) > 0:
                _write(file, b"\n" * missing, at=file.tell())

    def lend(self) -> None:
        """Give the reserved room back if it holds no entry, until ``reserve``. Raises OSError.

        SQLite needs some to open its file, which a full disk has not.
        """
        if self._path.exists() and not self._path.read_bytes().strip(b"\n"):
            self._path.unlink()

    def append(self, ended: Iterable[EndedTask]) -> None:
        """Add entries; on disk when it returns. Raises OSError."""
        # A line of its own even after one that a crash cut short.
        data = b"".join(b"\n" + _encode(each) + b"\n" for each in ended)
        self._path.touch()
        with self._path.open("r+b") as file:
            _write(file, data, at=len(file.read().rstrip(b"\n")))

    def read(self) -> list[EndedTask]:
        """Every entry that is whole. Raises OSError, but not for a journal that is not there."""
        try:
            lines = self._path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        entries = []
        for line in filter(None, lines):
            try:
                entries.append(_decode(line))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                log.warning("an entry of %s cannot be read: %s", self._path, error)
        return entries

    def clear(self) -> None:
        """Remove every entry, and the file unless its room is reserved. Raises OSError."""
        if not self._is_reserved:
            self._path.unlink(missing_ok=True)
        else:
            with self._path.open("r+b") as file:
                _write(file, b"\n" * len(file.read().rstrip(b"\n")), at=0)
                file.truncate(RESERVED_BYTES)


def _write(file: BinaryIO, data: bytes, at: int) -> None:
    file.seek(at)
    file.write(data)
    file.flush()
    os.fsync(file.fileno())
