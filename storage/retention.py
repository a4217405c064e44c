"""Finds the ended tasks beyond the limits: the oldest ones, favourites excepted."""

import asyncio
import sqlite3
from collections.abc import Collection
from typing import Final

import msgspec

from pipeline.errors import DiskFull
from storage.database import Database, fault_code
from storage.limits import Limits
from storage.outputs import OutputStore
from storage.records import TaskRecord, stored_records
from storage.trash import Trash

BATCH: Final = 200  # tasks a transaction, so that a large deletion holds up no new task
_CANDIDATE: Final = (
    "task_id NOT IN (SELECT task_id FROM focal_favourite)"
    " AND id NOT IN (SELECT value FROM json_each(:spared))"
)
_TOO_OLD: Final = f"""
    SELECT id FROM focal_gallery WHERE mills < :before AND {_CANDIDATE}
    ORDER BY mills, id LIMIT :limit
"""  # noqa: S608 - constants, here and below
_TOO_MANY: Final = f"""
    SELECT id FROM (SELECT id, task_id, mills FROM focal_gallery
                    ORDER BY mills DESC, id DESC LIMIT -1 OFFSET :keep)
    WHERE {_CANDIDATE} ORDER BY mills, id LIMIT :limit
"""  # noqa: S608
_OLDEST: Final = f"""
    SELECT id, bytes FROM focal_gallery JOIN focal_size USING (id)
    WHERE {_CANDIDATE} ORDER BY mills, id LIMIT :limit
"""  # noqa: S608
_RECORDS: Final = """
    SELECT * FROM focal_record WHERE id IN (SELECT value FROM json_each(:ids)) ORDER BY mills, id
"""
_UNMEASURED: Final = """
    SELECT * FROM focal_record
    WHERE id IN (SELECT id FROM focal_size WHERE bytes IS NULL LIMIT :limit)
"""
_MEASURED: Final = """
    UPDATE focal_size SET bytes = measured.value FROM json_each(:sizes) measured
    WHERE focal_size.id = CAST(measured.key AS INTEGER)
"""
_TOTAL: Final = """
    SELECT coalesce(sum(bytes), 0) FROM focal_size
    WHERE id NOT IN (SELECT value FROM json_each(:spared))
"""


class Retention:
    """Moves tasks beyond the limits to the trash. Event loop only."""

    def __init__(self, database: Database, outputs: OutputStore, trash: Trash) -> None:
        self._database = database
        self._outputs = outputs
        self._trash = trash

    async def discard_excess(
        self, limits: Limits, now_ms: int, spared: Collection[int] = ()
    ) -> list[TaskRecord]:
        """Move a batch of ``excess`` to the trash, expired at once.

        Call it again, emptying the trash in between, until nothing is returned.
        """
        records = await self.excess(limits, now_ms, spared)
        if records:
            await self._trash.discard_rows([record.id for record in records], now_ms)
        return records

    async def excess(
        self, limits: Limits, now_ms: int, spared: Collection[int] = ()
    ) -> list[TaskRecord]:
        """A batch of the tasks beyond the limits, oldest first.

        Tasks with the row ids ``spared`` stay, and their pictures do not count.
        """
        spared_ids = msgspec.json.encode(list(spared)).decode()
        if limits.seconds:
            before = now_ms - int(limits.seconds * 1000)
            if ids := await self._ids(_TOO_OLD, before=before, spared=spared_ids):
                return await self._records(ids)
        if limits.tasks:
            ids = await self._ids(_TOO_MANY, keep=limits.tasks, spared=spared_ids)
            if ids:
                return await self._records(ids)
        if limits.bytes:
            excess = await self._bytes(spared_ids) - limits.bytes
            if excess > 0 and (ids := await self._ids_of_bytes(excess, spared_ids)):
                return await self._records(ids)
        return []

    async def _bytes(self, spared: str) -> int:
        """Bytes of the history's images. Other files in the folder do not count.

        On a full disk those that were measured before: the rest is when they have made room.
        """
        try:
            while rows := await self._database.search(_UNMEASURED, {"limit": BATCH}):
                await self._measure(await stored_records(rows))
        except sqlite3.Error as error:
            if fault_code(error) != DiskFull.code:
                raise
        return int((await self._database.search(_TOTAL, {"spared": spared}))[0][0])

    async def _measure(self, records: list[TaskRecord]) -> None:
        """Write down what the pictures of tasks take: once, as finished pictures do not change."""
        sizes = await asyncio.to_thread(
            lambda: {str(record.id): self._bytes_of(record) for record in records}
        )
        async with self._database.transaction() as connection:
            await connection.execute(_MEASURED, {"sizes": msgspec.json.encode(sizes).decode()})

    def _bytes_of(self, record: TaskRecord) -> int:
        return sum(self._outputs.size_of(path) for path in record.result or ())

    async def _ids(self, sql: str, **values: object) -> list[int]:
        rows = await self._database.fetch_all(sql, {**values, "limit": BATCH})
        return [int(row["id"]) for row in rows]

    async def _ids_of_bytes(self, excess: int, spared: str) -> list[int]:
        """The oldest tasks, as many as it takes for their pictures to make up ``excess`` bytes."""
        rows = await self._database.fetch_all(_OLDEST, {"spared": spared, "limit": BATCH})
        chosen: list[int] = []
        for row in rows:
            if excess <= 0:
                break
            chosen.append(int(row["id"]))
            excess -= int(row["bytes"] or 0)
        return chosen

    async def _records(self, ids: list[int]) -> list[TaskRecord]:
        values = {"ids": msgspec.json.encode(ids).decode()}
        return await stored_records(await self._database.fetch_all(_RECORDS, values))
