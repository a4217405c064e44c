"""All SQL on ``generate_record``: a task is written when it is queued and when it ends."""

import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Final

import aiosqlite
import msgspec

from bus.events import now_ms
from pipeline.scheduling.task import Outcome, Task
from storage.answers import Answers
from storage.database import Database
from storage.merge import merged_page
from storage.open_rows import Unfinished, Unreadable, read_open_row
from storage.records import (
    TaskRecord,
    ended_record,
    params_of,
    stored_record,
    stored_records,
)
from storage.schema import BLOCK_BITS
from storage.stored_params import StoredParams
from storage.unwritten import UnwrittenEnds

_QUEUE: Final = """
    INSERT INTO generate_record (task_id, req_params, in_queue_mills, webhook_url)
    VALUES (:task_id, :params, :mills, :webhook_url)
"""
_DELIVER: Final = """
    INSERT INTO focal_task (task_id, base_url, family, key_name)
    VALUES (:task_id, :base_url, :family, :key)
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
_RECORD: Final = "SELECT * FROM focal_record WHERE task_id = :task_id ORDER BY id DESC LIMIT 1"
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
_STILL_OPEN: Final = """
    SELECT * FROM focal_record WHERE mills BETWEEN :start AND :end AND id IN
        (SELECT id FROM focal_open WHERE task_id IN (SELECT value FROM json_each(:task_ids)))
"""
_SHORT: Final = 20  # rows of a page that is read where the caller runs
_FIRST_MS: Final = -(2**62)  # bounds of an open range; inside SQLite's integers with room to add
_LAST_MS: Final = 2**62


class Admitted(msgspec.Struct, frozen=True, kw_only=True):
    """The row of a request; ``row_id`` is None where an earlier request has made it."""

    task_id: str
    row_id: int | None


class HistoryRepository:
    """Reads and writes tasks. Event loop only.

    "History" means ended rows, those included whose end is ``unwritten``. A row ends once:
    closing it again changes nothing.
    """

    def __init__(self, database: Database, unwritten: UnwrittenEnds | None = None) -> None:
        self._database = database
        self._unwritten = UnwrittenEnds() if unwritten is None else unwritten
        self._answers: Answers[list[TaskRecord]] = Answers()

    async def add_queued(
        self, task: Task, idempotency_key: str = "", check: Callable[[], None] = lambda: None
    ) -> Admitted:
        """Write a new task's row; must come before the task is submitted.

        With a key that was seen before, nothing is written and the first task's id is returned.
        ``check`` is called first, on the writing thread, and refuses the task by what it raises.
        """
        return await self._database.write(partial(_add, task, idempotency_key), check)

    async def task_of_key(self, idempotency_key: str) -> str | None:
        """The id of the task that the key's first request made."""
        row = await self._database.fetch_one(
            "SELECT task_id FROM idempotency WHERE key = :key", {"key": idempotency_key}
        )
        return None if row is None else str(row["task_id"])

    async def close_row(
        self, connection: aiosqlite.Connection, task_id: str, outcome: Outcome
    ) -> bool:
        """Close an open row in the caller's transaction. False, and no change, without one."""
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
            if row["task_id"] in self._unwritten:
                continue
            read = read_open_row(row)
            if isinstance(read, Unreadable):
                found.unreadable.append(read)
            else:
                found.rows.append(read)
        return found

    async def get(self, task_id: str) -> TaskRecord | None:
        """One task as its row has it; what runs or waits is better known to the executor."""
        ended = self._unwritten.get(task_id)  # before the row: once it is closed, this is gone
        version = self._database.version()
        found = self._answers.find(version, task_id)
        if found is None:
            rows = await self._database.look_up(_RECORD, {"task_id": task_id})
            found = [stored_record(row) for row in rows]
            self._answers.keep(version, task_id, found, _size(found))
        if not found:
            return None
        ended = ended or self._unwritten.get(task_id)
        return found[0] if ended is None else ended_record(found[0], ended.outcome)

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
        return await merged_page(
            await self.held(start_ms, end_ms),
            lambda skipped, count: self._stored(start_ms, end_ms, skipped, count),
            offset,
            limit,
            age=lambda record: (record.in_queue_mills or 0, record.id),
            name=lambda record: record.id,
        )

    async def held(
        self, start_ms: int | None = None, end_ms: int | None = None
    ) -> list[TaskRecord]:
        """Ended tasks of a range that their rows still call open, in no order."""
        if not self._unwritten:
            return []
        task_ids = [ended.task_id for ended in self._unwritten]
        values = {
            "start": _FIRST_MS if start_ms is None else start_ms,
            "end": _LAST_MS if end_ms is None else end_ms,
            "task_ids": msgspec.json.encode(task_ids).decode(),
        }
        rows = await self._database.fetch_all(_STILL_OPEN, values)
        ends = {ended.task_id: ended.outcome for ended in self._unwritten}
        records = await stored_records(rows)
        return [
            ended_record(record, ends[record.task_id])
            for record in records
            if record.task_id in ends  # it may have been written meanwhile
        ]

    async def _stored(
        self, start_ms: int | None, end_ms: int | None, offset: int, limit: int | None
    ) -> list[TaskRecord]:
        is_short = limit is not None and limit <= _SHORT
        version = self._database.version() if is_short else None
        asked = (start_ms, end_ms, offset, limit)
        found = self._answers.find(version, asked)
        if found is None:
            found = await self._read(start_ms, end_ms, offset, limit, is_short=is_short)
            self._answers.keep(version, asked, found, _size(found))
        return list(found)

    async def _read(
        self,
        start_ms: int | None,
        end_ms: int | None,
        offset: int,
        limit: int | None,
        *,
        is_short: bool,
    ) -> list[TaskRecord]:
        if end_ms is not None:
            offset += await self._newer_than(end_ms)
        fetch = self._database.look_up if is_short else self._database.fetch_all
        places = await fetch(_PLACE, {"offset": offset})
        if not places:
            return []
        place = places[0]
        values = {
            "start": _FIRST_MS if start_ms is None else start_ms,
            "upper": ((place["block"] + 1) << BLOCK_BITS) - 1,
            "limit": -1 if limit is None else limit,
            "rest": offset - place["before"],
        }
        return await stored_records(await fetch(_PAGE, values))

    async def count(self, start_ms: int | None = None, end_ms: int | None = None) -> int:
        """How many ended tasks were queued in the range, both ends included."""
        start = _FIRST_MS if start_ms is None else start_ms - 1
        end = _LAST_MS if end_ms is None else end_ms
        stored = max(0, await self._newer_than(start) - await self._newer_than(end))
        return stored + len(await self.held(start_ms, end_ms))

    async def _newer_than(self, mills: int) -> int:
        row = await self._database.fetch_one(_NEWER, {"mills": mills})
        return int(row[0]) if row else 0


def _add(task: Task, idempotency_key: str, connection: sqlite3.Connection) -> Admitted:
    if idempotency_key:
        owner = _claim_key(connection, idempotency_key, task.task_id)
        if owner != task.task_id:
            return Admitted(task_id=owner, row_id=None)
    delivery = task.delivery
    values = {
        "task_id": task.task_id,
        "params": msgspec.json.encode(params_of(task)).decode(),
        "mills": task.in_queue_mills,
        "webhook_url": delivery.webhook,
        "base_url": delivery.base_url,
        "family": delivery.family,
        "key": delivery.key,
    }
    row_id = connection.execute(_QUEUE, values).lastrowid
    connection.execute(_DELIVER, values)
    return Admitted(task_id=task.task_id, row_id=row_id)


def _size(records: list[TaskRecord]) -> int:
    """Characters of the stored texts, which are nearly all that records take."""
    return sum(
        len(record.req_params.text)
        for record in records
        if isinstance(record.req_params, StoredParams)
    )


def _claim_key(connection: sqlite3.Connection, key: str, task_id: str) -> str:
    connection.execute(
        "INSERT INTO idempotency (key, task_id, created) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (key, task_id, now_ms()),
    )
    row = connection.execute("SELECT task_id FROM idempotency WHERE key = ?", (key,)).fetchone()
    return str(row[0]) if row else task_id
