"""Reads a few rows by an index on the event loop itself, while the database is small.

Such a read takes 8 to 40 µs for a row, and 0.1 to 2 ms for a page, the more the deeper it lies in
the history, in the cache of the operating system; to hand it to a thread and wait for the answer
takes as long again as a row, and more where processors are busy. In WAL mode a reader waits for no
writer. What could hold up the loop is left to the thread: a file too large to be sure that
its pages are in memory, and a file that is locked all the same.
"""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

SMALL_BYTES: Final = 64 * 2**20
LOOK_EVERY: Final = 64  # reads between two looks at the file's size
_CHUNK_BYTES: Final = 2**20


class LoopReader:
    """A connection of the event loop's own. See ``open_loop_reader``."""

    def __init__(
        self, path: Path, connection: sqlite3.Connection, limit_bytes: int = SMALL_BYTES
    ) -> None:
        self._files = (path, path.with_name(f"{path.name}-wal"))
        self._connection = connection
        self._limit_bytes = limit_bytes
        self._reads = 0
        self._is_small = False

    def fetch(self, sql: str, values: Mapping[str, object]) -> list[sqlite3.Row] | None:
        """The rows, or None where a thread has to read them. For queries that an index answers."""
        if self._reads % LOOK_EVERY == 0:
            self._is_small = sum(map(_size_of, self._files)) <= self._limit_bytes
        self._reads += 1
        if not self._is_small:
            return None
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.OperationalError:  # locked, say; the thread waits, or tells what is wrong
            return None

    def version(self) -> int | None:
        """A number that changes with each commit of any other connection; None: see ``fetch``."""
        rows = self.fetch("PRAGMA data_version", {})
        return None if rows is None else int(rows[0][0])


@asynccontextmanager
async def open_loop_reader(path: Path) -> AsyncIterator[LoopReader]:
    """Open a database that exists. The connection waits for no lock."""
    connection = await asyncio.to_thread(_open, path)
    try:
        yield LoopReader(path, connection)
    finally:
        connection.close()


def warm_up(path: Path) -> None:
    """Read a small database once, so that its pages are in the system's cache.

    Only before the first connection of this process: closing the file, which this does, gives up
    all locks that a process holds on it (POSIX). Another process that closes the database would
    then take itself for the last one, and remove the log that this one writes to.
    """
    if _size_of(path) <= SMALL_BYTES:
        with suppress(OSError), path.open("rb") as file:
            while file.read(_CHUNK_BYTES):
                pass


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=0, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA query_only = ON")
    return connection


def _size_of(path: Path) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - on the event loop, and the quicker one
    except OSError:
        return 0
