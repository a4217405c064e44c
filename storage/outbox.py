"""The webhooks that are owed: in the database, and in memory while it cannot be written."""

import asyncio
import logging
import sqlite3
from typing import Final

import aiosqlite
import msgspec

from bus.events import now_ms
from storage.database import WRITE_WAIT_S, Database
from storage.unwritten import EndedTask

log = logging.getLogger(__name__)

READ_PAUSE_S: Final = 5.0  # before a database that could not be read is asked again

_OWE: Final = """
    INSERT INTO webhook_delivery (task_id, url, base_url, tries, next_mills)
    VALUES (:task_id, :url, :base_url, :tries, :next_mills) ON CONFLICT DO NOTHING
"""
_OWED: Final = """
    SELECT task_id, url, base_url, tries, next_mills FROM webhook_delivery
    ORDER BY next_mills LIMIT :limit
"""
_TRY: Final = """
    UPDATE webhook_delivery SET tries = :tries, next_mills = :next_mills WHERE task_id = :task_id
"""
_SETTLE: Final = "DELETE FROM webhook_delivery WHERE task_id = :task_id"


class OwedWebhook(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook that is owed; ``tries`` were made before, the next is due at ``next_mills``."""

    task_id: str
    url: str
    base_url: str
    tries: int = 0
    next_mills: int


class Outbox:
    """Owns the table ``webhook_delivery``. Event loop only.

    What the table does not take is kept in memory and overrides it: a database that is full or
    locked delays no webhook, and none is sent over and over because its tries are not counted.
    """

    def __init__(self, database: Database) -> None:
        self.changed = asyncio.Event()
        """Set when a delivery may have been added."""
        self._database = database
        self._newer: dict[str, OwedWebhook] = {}  # than in the table, or not in it
        self._settled: set[str] = set()  # though the table has it, or will have it
        self._unwritten: set[str] = set()  # owed for a row that is still open

    async def owe(self, connection: aiosqlite.Connection, ended: EndedTask) -> None:
        """Add a delivery in the transaction that closes the row; then ``written``."""
        if ended.task_id not in self._settled:
            webhook = self._newer.get(ended.task_id) or _first(ended)
            await connection.execute(_OWE, msgspec.structs.asdict(webhook))

    async def written(self, task_id: str) -> None:
        """The row is closed, and its delivery in the table unless it was settled before."""
        self._unwritten.discard(task_id)
        self._newer.pop(task_id, None)
        if task_id in self._settled:  # perhaps while the transaction was under way
            self._settled.discard(task_id)
            await self.settle(task_id)
        self.changed.set()

    def hold(self, ended: EndedTask) -> None:
        """Owe a delivery for a row that cannot be closed yet."""
        if ended.webhook_url and ended.task_id not in self._unwritten:
            self._unwritten.add(ended.task_id)
            self._newer[ended.task_id] = _first(ended)
            self.changed.set()

    async def next(self, limit: int) -> list[OwedWebhook]:
        """The deliveries that are due first, in order."""
        hidden = len(self._newer) + len(self._settled)
        try:
            rows = await self._database.fetch_all(_OWED, {"limit": limit + hidden})
        except sqlite3.Error as error:
            log.error("the owed webhooks could not be read: %s", error)
            asyncio.get_running_loop().call_later(READ_PAUSE_S, self.changed.set)
            rows = []
        stored = [msgspec.convert(dict(row), OwedWebhook) for row in rows]
        owed = {webhook.task_id: webhook for webhook in stored} | self._newer
        due = [webhook for webhook in owed.values() if webhook.task_id not in self._settled]
        return sorted(due, key=lambda webhook: webhook.next_mills)[:limit]

    async def count_try(self, webhook: OwedWebhook) -> None:
        """Replace a delivery by one with more tries and a later time."""
        if await self._write(_TRY, msgspec.structs.asdict(webhook)):
            self._newer.pop(webhook.task_id, None)
        else:
            self._newer[webhook.task_id] = webhook

    async def settle(self, task_id: str) -> None:
        """Owe it no more: it was delivered, or given up."""
        self._newer.pop(task_id, None)
        if task_id in self._unwritten or await self._write(_SETTLE, {"task_id": task_id}) is None:
            self._settled.add(task_id)

    async def _write(self, sql: str, values: dict[str, object]) -> int | None:
        """How many rows were changed; None if the table cannot be written."""
        try:
            async with self._database.transaction(WRITE_WAIT_S) as connection:
                return (await connection.execute(sql, values)).rowcount
        except sqlite3.Error as error:
            log.error("the webhook of task %s is kept in memory: %s", values["task_id"], error)
            return None


def _first(ended: EndedTask) -> OwedWebhook:
    return OwedWebhook(
        task_id=ended.task_id,
        url=ended.webhook_url,
        base_url=ended.base_url,
        next_mills=now_ms(),
    )
