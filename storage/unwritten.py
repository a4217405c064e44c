"""Ends of tasks that the database has not taken: in memory, and in a journal beside it."""

import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from pipeline.scheduling.task import Outcome

log = logging.getLogger(__name__)

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
    writes what it holds. An entry whose row is closed meanwhile does no harm.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, ended: Iterable[EndedTask]) -> None:
        """Add entries; on disk when it returns. Raises OSError."""
        with self._path.open("ab") as file:
            # A line of its own even after one that a crash cut short.
            file.write(b"".join(b"\n" + _encode(each) + b"\n" for each in ended))
            file.flush()
            os.fsync(file.fileno())

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
        """Remove the file. Raises OSError."""
        self._path.unlink(missing_ok=True)
