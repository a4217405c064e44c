"""A connection on a thread of its own, for transactions that run there from beginning to end.

With aiosqlite each statement is a call to its thread and back, some 30 µs of processor time apiece.
An admission has four, and would spend as much on them as on its commit.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class WriteThread:
    """Runs transactions one after another. Event loop only; see ``open_write_thread``."""

    def __init__(self, pool: ThreadPoolExecutor, connection: sqlite3.Connection) -> None:
        self._pool = pool
        self._connection = connection
        self._waits_s = 0.0  # as set on the connection

    def call(
        self, work: Callable[[sqlite3.Connection], T], check: Callable[[], None], wait_s: float
    ) -> asyncio.Future[T]:
        """``check()``, then ``work`` between BEGIN and COMMIT; a rollback if either raises.

        BEGIN waits ``wait_s`` at most for another process that holds the file.
        """
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._pool, self._transaction, work, check, wait_s)

    def _transaction(
        self, work: Callable[[sqlite3.Connection], T], check: Callable[[], None], wait_s: float
    ) -> T:
        check()
        connection = self._connection
        if wait_s != self._waits_s:
            connection.execute(f"PRAGMA busy_timeout = {int(wait_s * 1000)}")
            self._waits_s = wait_s
        try:
            connection.execute("BEGIN IMMEDIATE")
            result = work(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return result


@asynccontextmanager
async def open_write_thread(path: Path) -> AsyncIterator[WriteThread]:
    """Open a database that exists and is in WAL mode."""
    loop = asyncio.get_running_loop()
    pool = ThreadPoolExecutor(1, "history-write")
    try:
        connection = await loop.run_in_executor(pool, _connect, path)
        try:
            yield WriteThread(pool, connection)
        finally:
            await loop.run_in_executor(pool, connection.close)
    finally:
        pool.shutdown(wait=False)


def _connect(path: Path) -> sqlite3.Connection:
    # isolation_level None: no transaction begins but by our own BEGIN.
    connection = sqlite3.connect(path, isolation_level=None, timeout=0)
    connection.execute("PRAGMA synchronous = FULL")  # as for the other writes, see ``_prepare``
    return connection
