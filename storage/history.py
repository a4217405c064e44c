"""All SQL on ``generate_record``: a task is written when it is queued and when it ends."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Final

import aiosqlite
import msgspec

from bus.events import now_ms
from pipeline.errors import InvalidParameter
from pipeline.request.decode import request_from
from pipeline.request.delivery import Delivery
from pipeline.request.resolved import ResolvedRequest
from pipeline.request.schema import GenerateParams
from pipeline.scheduling.task import Outcome, Task
from storage.database import Database
from storage.records import TaskRecord, params_of, stored_record, stored_records
from storage.schema import BLOCK_BITS

_QUEUE: Final = """
    INSERT INTO generate_record (task_id, req_params, in_queue_mills, webhook_url)
    VALUES (:task_id, :params, :mills, :webhook_url)
"""
_CLOSE: Final = """
    UPDATE generate_record SET start_mills = :start_mills, finish_mills = :finish_mills,
        task_status = :status, progress = :progress, result = :result
    WHERE id IN (SELECT id FROM focal_open WHERE task_id = :task_id)
"""
_DESCRIBE: Final = """
    INSERT INTO focal_task (task_id, error, code, notes) VALUES (:task_id, :error, :code, :notes)
    ON CONFLICT (task_id) DO UPDATE SET error = :error, code = :code, notes = :notes
"""
_UNFINISHED: Final = """
    SELECT * FROM focal_record WHERE id IN (SELECT id FROM focal_open) ORDER BY id
"""
# The lowest block that begins at or before the offset, and how many ended rows are newer.
_PLACE: Final = """
    SELECT block, before FROM
        (SELECT block, sum(ended) OVER (ORDER BY block DESC) - ended AS before FROM focal_block)
    WHERE before <= :offset ORDER BY block LIMIT 1
"""
_NEWER: Final = """
    SELECT (SELECT coalesce(sum(ended), 0) FROM focal_block WHERE block > :mills >> 24)
         + (SELECT count(*) FROM focal_ended
            WHERE mills > :mills AND mills < ((:mills >> 24) + 1) << 24)
"""
# Row ids come from the index alone; only the page's own rows are read.
_PAGE: Final = """
    SELECT * FROM focal_record WHERE id IN
        (SELECT id FROM focal_ended WHERE mills BETWEEN :start AND :upper
         ORDER BY mills DESC, id DESC LIMIT :limit OFFSET :rest)
    ORDER BY mills DESC, id DESC
"""
_DELETE_ROWS: Final = """
    DELETE FROM generate_record WHERE id IN (SELECT value FROM json_each(:ids))
"""
_DELETE_TASKS: Final = """
    DELETE FROM focal_task WHERE task_id IN (SELECT value FROM json_each(:task_ids))
"""
_DELETE_KEYS: Final = """
    DELETE FROM idempotency WHERE task_id IN (SELECT value FROM json_each(:task_ids))
"""
_DELETE_MARKS: Final = """
    DELETE FROM focal_favourite WHERE task_id IN (SELECT value FROM json_each(:task_ids))
"""

_FIRST_MS: Final = -(2**62)  # bounds of an open range; inside SQLite's integers with room to add
_LAST_MS: Final = 2**62
_DELETE_BATCH: Final = 500  # rows a transaction, so that a large delete holds up no new task


class Unreadable(msgspec.Struct, frozen=True, kw_only=True):
    """A row that never ended and whose parameters this version cannot read any more."""

    task_id: str
    webhook_url: str
    base_url: str
    error: str


class Admitted(msgspec.Struct, frozen=True, kw_only=True):
    """The row of a request; ``row_id`` is None where an earlier request has made it."""

    task_id: str
    row_id: int | None


class OpenRow(msgspec.Struct, frozen=True, kw_only=True):
    """A task that has not ended, with the id of its row: rows are numbered in order of arrival."""

    id: int
    task: Task


class UnresolvedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row that has not ended, its request decoded; what it names may be gone meanwhile."""

    id: int
    task_id: str
    params: GenerateParams
    present: frozenset[str]  # the fields that the row has
    in_queue_mills: int
    delivery: Delivery

    def resolved(self, request: ResolvedRequest) -> OpenRow:
        """The same row with its request resolved."""
        task = Task(
            task_id=self.task_id,
            request=request,
            in_queue_mills=self.in_queue_mills,
            delivery=self.delivery,
        )
        return OpenRow(id=self.id, task=task)


class Unfinished(msgspec.Struct, frozen=True, kw_only=True):
    """What a former run of the server left undone, oldest first."""

    rows: list[UnresolvedRow]
    unreadable: list[Unreadable]


class HistoryRepository:
    """Reads and writes tasks. Event loop only.

    "History" means ended rows. A row ends once: closing it again changes nothing.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def transaction(self) -> AbstractAsyncContextManager[aiosqlite.Connection]:
        """For what must be written together with a row; see ``close_row``."""
        return self._database.transaction()

    async def add_queued(self, task: Task, idempotency_key: str = "") -> Admitted:
        """Write a new task's row; must come before the task is submitted.

        With a key that was seen before, nothing is written and the first task's id is returned.
        """
        async with self._database.transaction() as connection:
            if idempotency_key:
                owner = await _claim_key(connection, idempotency_key, task.task_id)
                if owner != task.task_id:
                    return Admitted(task_id=owner, row_id=None)
            cursor = await connection.execute(
                _QUEUE,
                {
                    "task_id": task.task_id,
                    "params": msgspec.json.encode(params_of(task)).decode(),
                    "mills": task.in_queue_mills,
                    "webhook_url": task.delivery.webhook,
                },
            )
            await connection.execute(
                "INSERT INTO focal_task (task_id, base_url) VALUES (?, ?)",
                (task.task_id, task.delivery.base_url),
            )
        return Admitted(task_id=task.task_id, row_id=cursor.lastrowid)

    async def task_of_key(self, idempotency_key: str) -> str | None:
        """The id of the task that the key's first request made."""
        row = await self._database.fetch_one(
            "SELECT task_id FROM idempotency WHERE key = :key", {"key": idempotency_key}
        )
        return None if row is None else str(row["task_id"])

    async def finish(self, task_id: str, outcome: Outcome) -> bool:
        """Close an open row. False, and nothing is changed, if there is none."""
        async with self._database.transaction() as connection:
            return await self.close_row(connection, task_id, outcome)

    async def close_row(
        self, connection: aiosqlite.Connection, task_id: str, outcome: Outcome
    ) -> bool:
        """``finish`` inside the caller's transaction, for what must be written together with it."""
        cursor = await connection.execute(
            _CLOSE,
            {
                "task_id": task_id,
                "start_mills": outcome.started_mills,
                "finish_mills": outcome.finished_mills or now_ms(),
                "status": outcome.status,
                "progress": 100 if outcome.status == "finished" else None,
                "result": msgspec.json.encode(outcome.images).decode(),
            },
        )
        if cursor.rowcount < 1:
            return False
        await connection.execute(
            _DESCRIBE,
            {
                "task_id": task_id,
                "error": outcome.error,
                "code": outcome.code,
                "notes": msgspec.json.encode(outcome.notes).decode(),
            },
        )
        return True

    async def unfinished(self) -> Unfinished:
        """Rows that were queued and never ended, in their old order."""
        found = Unfinished(rows=[], unreadable=[])
        for row in await self._database.fetch_all(_UNFINISHED, {}):
            try:
                found.rows.append(_unresolved_row(row))
            except (msgspec.MsgspecError, InvalidParameter) as error:
                found.unreadable.append(_unreadable(row, str(error)))
        return found

    async def get(self, task_id: str) -> TaskRecord | None:
        """One task as its row has it; what runs or waits is better known to the executor."""
        row = await self._database.fetch_one(
            "SELECT * FROM focal_record WHERE task_id = :task_id ORDER BY id DESC LIMIT 1",
            {"task_id": task_id},
        )
        return None if row is None else stored_record(row)

    async def page(
        self,
        start_ms: int | None = None,
        end_ms: int | None = None,
        page: int = 0,
        page_size: int | None = None,
    ) -> list[TaskRecord]:
        """Ended tasks queued in ``start_ms..end_ms`` (both included), newest first.

        ``page_size`` None: the whole range, whatever ``page`` says.
        """
        offset = 0 if page_size is None else page * page_size
        return await self.stretch(start_ms, end_ms, offset, page_size)

    async def stretch(
        self, start_ms: int | None, end_ms: int | None, offset: int, limit: int | None
    ) -> list[TaskRecord]:
        """``limit`` records (None: all) of a range after the ``offset`` newest ones."""
        if end_ms is not None:
            offset += await self._newer_than(end_ms)
        place = await self._database.fetch_one(_PLACE, {"offset": offset})
        if place is None:
            return []
        values = {
            "start": _FIRST_MS if start_ms is None else start_ms,
            "upper": ((place["block"] + 1) << BLOCK_BITS) - 1,
            "limit": -1 if limit is None else limit,
            "rest": offset - place["before"],
        }
        return await stored_records(await self._database.fetch_all(_PAGE, values))

    async def count(self, start_ms: int | None = None, end_ms: int | None = None) -> int:
        """How many ended tasks were queued in the range, both ends included."""
        start = _FIRST_MS if start_ms is None else start_ms - 1
        end = _LAST_MS if end_ms is None else end_ms
        return max(0, await self._newer_than(start) - await self._newer_than(end))

    async def delete_range(self, start_ms: int, end_ms: int) -> list[TaskRecord]:
        """Delete the ended tasks queued in the range, both ends included, and return them.

        Their files are the caller's to delete. Tasks that wait or run stay.
        """
        deleted: list[TaskRecord] = []
        async for batch in self._delete_batches(start_ms, end_ms):
            deleted.extend(batch)
        return deleted

    async def _delete_batches(self, start_ms: int, end_ms: int) -> AsyncIterator[list[TaskRecord]]:
        values = {"start": start_ms, "upper": end_ms, "limit": _DELETE_BATCH, "rest": 0}
        while True:
            async with self._database.transaction() as connection:
                rows = await connection.execute_fetchall(_PAGE, values)
                batch = [stored_record(row) for row in rows]
                await _delete(connection, batch)
            yield batch
            if len(batch) < _DELETE_BATCH:
                return

    async def _newer_than(self, mills: int) -> int:
        row = await self._database.fetch_one(_NEWER, {"mills": mills})
        return int(row[0]) if row else 0


async def _claim_key(connection: aiosqlite.Connection, key: str, task_id: str) -> str:
    await connection.execute(
        "INSERT INTO idempotency (key, task_id, created) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (key, task_id, now_ms()),
    )
    cursor = await connection.execute("SELECT task_id FROM idempotency WHERE key = ?", (key,))
    row = await cursor.fetchone()
    return str(row[0]) if row else task_id


async def _delete(connection: aiosqlite.Connection, records: list[TaskRecord]) -> None:
    ids = msgspec.json.encode([record.id for record in records]).decode()
    task_ids = msgspec.json.encode([record.task_id for record in records]).decode()
    await connection.execute(_DELETE_ROWS, {"ids": ids})
    await connection.execute(_DELETE_TASKS, {"task_ids": task_ids})
    await connection.execute(_DELETE_KEYS, {"task_ids": task_ids})
    await connection.execute(_DELETE_MARKS, {"task_ids": task_ids})


def _unresolved_row(row: sqlite3.Row) -> UnresolvedRow:
    fields = msgspec.json.decode(row["req_params"], type=dict[str, object])
    request = request_from(fields)
    delivery = msgspec.structs.replace(
        Delivery.of(request),
        default_webhook=row["webhook_url"] or "",
        base_url=row["base_url"] or "",
    )
    return UnresolvedRow(
        id=row["id"],
        task_id=row["task_id"],
        params=request.params,
        present=frozenset(fields),
        in_queue_mills=row["in_queue_mills"] or 0,
        delivery=delivery,
    )


def _unreadable(row: sqlite3.Row, error: str) -> Unreadable:
    return Unreadable(
        task_id=row["task_id"],
        webhook_url=row["webhook_url"] or "",
        base_url=row["base_url"] or "",
        error=f"the task waited through a restart and its parameters cannot be read: {error}",
    )
