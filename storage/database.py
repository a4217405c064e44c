"""The SQLite file: connections to write, read and search, and its migrations."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

import aiosqlite

from storage.loop_reader import LoopReader, open_loop_reader, warm_up
from storage.schema import MIGRATIONS
from storage.write_thread import WriteThread, open_write_thread

T = TypeVar("T")

START_WAIT_S: Final = 10.0  # how long a start waits for another process that holds the file
REQUEST_WAIT_S: Final = 1.5  # the same for a request
WRITE_WAIT_S: Final = 1.0  # the same for what is kept in memory meanwhile, the queue included
PROBE_WAIT_S: Final = 0.5  # the same for ``Database.probe``

_FULL: Final = sqlite3.SQLITE_FULL
_LOCKED: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class DatabaseBusy(sqlite3.OperationalError):
    """Other writes of this process have held the file for too long."""


def fault_code(error: sqlite3.Error) -> str:
    """``disk_full``, ``database_locked``, or "" for what neither room nor patience helps."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without the extension
    if code == _FULL:
        return "disk_full"
    return "database_locked" if code in _LOCKED or isinstance(error, DatabaseBusy) else ""


class DatabaseUnusable(Exception):
    """The file cannot be opened; the message says why."""


class DatabaseTooNew(DatabaseUnusable):
    """The file was written by a newer version of this server."""


class Database:
    """Owns the connections. Event loop only; build it with ``open_database``."""

    def __init__(
        self,
        writing: aiosqlite.Connection,
        reading: aiosqlite.Connection,
        searching: aiosqlite.Connection,
        write_thread: WriteThread,
        loop_reader: LoopReader,
        busy_s: float,
    ) -> None:
        self._writing = writing
        self._write_thread = write_thread
        self._loop_reader = loop_reader
        self._reading = reading
        self._searching = searching
        self._busy_s = busy_s
        self._waits_s = START_WAIT_S  # as set on the writing connection
        self._lock = asyncio.Lock()
        self.is_locked = False
        """Whether the newest write could not begin because another process holds the file."""
        self.on_full: Callable[[], None] = lambda: None
        """Called after each write that found no room."""

    @asynccontextmanager
    async def transaction(self, wait_s: float | None = None) -> AsyncIterator[aiosqlite.Connection]:
        """Commit on leaving, roll back on any exception, cancellation included.

        Coroutines share the connection: without the lock one could commit half of another's work.
        A caller cancelled while the commit runs cannot know which of the two happened.

        Raises sqlite3.OperationalError if the file is locked by another process for longer than
        ``busy_s``, or, where ``wait_s`` is given, if it cannot begin within about that time. Once
        one write has waited in vain, the others try without waiting, until the file is free:
        callers that stand behind each other would add up their waits.
        """
        async with self._writer(wait_s):
            # BEGIN and COMMIT stand inside the try: cancelling their await does not stop the
            # database thread, and a transaction left open would fail every later write. After a
            # commit that went through, rolling back does nothing.
            try:
                patience_s = self._busy_s if wait_s is None else wait_s
                await self._begin(0.0 if self.is_locked else patience_s)
                yield self._writing
                await self._writing.commit()
            except BaseException as error:
                self._note(error)
                await self._writing.rollback()
                raise

    async def write(
        self, work: Callable[[sqlite3.Connection], T], check: Callable[[], None] = lambda: None
    ) -> T:
        """Run ``work`` in a transaction on another thread: one hop, where ``transaction`` has five.

        Commits when it returns, rolls back on any exception. ``check`` runs before the transaction
        begins and may raise. A caller that is cancelled leaves when the thread is done, and cannot
        know whether it committed. Raises as ``transaction``.
        """
        async with self._writer(None):
            call = self._write_thread.call(work, check, 0.0 if self.is_locked else self._busy_s)
            try:
                result = await asyncio.shield(call)
            except asyncio.CancelledError:
                await asyncio.wait((call,))
                call.exception()  # retrieved, since the caller is gone
                raise
            except sqlite3.Error as error:
                self.is_locked = fault_code(error) == "database_locked"
                self._note(error)
                raise
            self.is_locked = False
            return result

    def _note(self, error: BaseException) -> None:
        if isinstance(error, sqlite3.Error) and fault_code(error) == "disk_full":
            self.on_full()

    async def probe(self) -> None:
        """Bring ``is_locked`` up to date, unless a write is under way that does."""
        if self._lock.locked():
            return
        with suppress(sqlite3.Error):
            async with self._writer(None):
                try:
                    await self._begin(PROBE_WAIT_S)
                finally:
                    await self._writing.rollback()

    @asynccontextmanager
    async def _writer(self, wait_s: float | None) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(wait_s):
                await self._lock.acquire()
        except TimeoutError:
            raise DatabaseBusy("another write has waited for long already") from None
        try:
            yield
        finally:
            self._lock.release()

    async def _begin(self, wait_s: float) -> None:
        """Take the file's write lock."""
        await self._set_busy_timeout(wait_s)
        try:
            await self._writing.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            self.is_locked = fault_code(error) == "database_locked"
            raise
        self.is_locked = False

    async def _set_busy_timeout(self, seconds: float) -> None:
        if seconds != self._waits_s:
            self._waits_s = seconds  # before the await: cancelling that does not stop the thread
            await self._writing.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")

    async def fetch_all(self, sql: str, values: Mapping[str, object]) -> list[sqlite3.Row]:
        """Read what is committed. Never waits behind a write: the file is in WAL mode."""
        return list(await self._reading.execute_fetchall(sql, values))

    async def look_up(self, sql: str, values: Mapping[str, object]) -> list[sqlite3.Row]:
        """As ``fetch_all``, for a few rows that an index finds: without a thread, where it can be.

        See ``storage.loop_reader``.
        """
        rows = self._loop_reader.fetch(sql, values)
        return await self.fetch_all(sql, values) if rows is None else rows

    def version(self) -> int | None:
        """The number of the database's state: a commit, of any process, changes it.

        None where that cannot be told without holding up the event loop.
        """
        return self._loop_reader.version()

    async def search(self, sql: str, values: Mapping[str, object]) -> list[sqlite3.Row]:
        """As ``fetch_all`` on a connection of its own, for queries that may take seconds."""
        return list(await self._searching.execute_fetchall(sql, values))

    async def fetch_one(self, sql: str, values: Mapping[str, object]) -> sqlite3.Row | None:
        """The first row of ``fetch_all``; for queries that yield one at most."""
        rows = await self.fetch_all(sql, values)
        return rows[0] if rows else None


@asynccontextmanager
async def open_database(path: Path, busy_s: float = REQUEST_WAIT_S) -> AsyncIterator[Database]:
    """Open, and create or migrate where needed. A file of the reference server keeps all it has.

    ``busy_s`` is how long reads and writes wait for another process from then on. Raises
    DatabaseUnusable, such as DatabaseTooNew or where the file is no database.
    """
    await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
    await asyncio.to_thread(warm_up, path)
    async with _connect(path, START_WAIT_S) as writing:
        try:
            await _prepare(writing)
        except sqlite3.Error as error:
            raise DatabaseUnusable(f"the history {path} cannot be used: {error}") from error
        async with _connect(path, busy_s) as reading, _connect(path, busy_s) as searching:
            await reading.execute("PRAGMA query_only = ON")
            await searching.execute("PRAGMA query_only = ON")
            async with (
                open_write_thread(path) as write_thread,
                open_loop_reader(path) as loop_reader,
            ):
                yield Database(writing, reading, searching, write_thread, loop_reader, busy_s)


async def _prepare(connection: aiosqlite.Connection) -> None:
    await connection.execute("PRAGMA journal_mode = WAL")
    # FULL syncs the log at every commit: an answered request outlives a power cut too. A task
    # has two commits and takes seconds, so it is cheap. (kill -9 loses nothing either way.)
    await connection.execute("PRAGMA synchronous = FULL")
    await _migrate(connection)


@asynccontextmanager
async def _connect(path: Path, busy_s: float) -> AsyncIterator[aiosqlite.Connection]:
    # isolation_level None: no transaction begins but by our own BEGIN.
    async with aiosqlite.connect(path, isolation_level=None, timeout=busy_s) as connection:
        connection.row_factory = sqlite3.Row
        yield connection


async def _migrate(connection: aiosqlite.Connection) -> None:
    await connection.execute("BEGIN IMMEDIATE")
    try:
        cursor = await connection.execute("PRAGMA user_version")
        row = await cursor.fetchone()
        version = int(row[0]) if row else 0
        if version > len(MIGRATIONS):
            raise DatabaseTooNew(
                f"the history is of version {version}, this server knows {len(MIGRATIONS)}: "
                "update the server, or give it another outputs folder"
            )
        for statement in (sql for step in MIGRATIONS[version:] for sql in step):
            await connection.execute(statement)
        if version < len(MIGRATIONS):  # else nothing is written, for which a full disk has no room
            await connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        await connection.commit()
    except BaseException:
        await connection.rollback()
        raise
