"""Finds the ended tasks beyond the limits: the oldest ones, favourites excepted."""

import asyncio
from typing import Final

import msgspec

from storage.database import Database
from storage.limits import Limits
from storage.outputs import OutputStore
from storage.records import TaskRecord, stored_record, stored_records
from storage.trash import Trash

BATCH: Final = 200  # tasks a transaction, so that a large deletion holds up no new task
_UNMARKED: Final = "task_id NOT IN (SELECT task_id FROM focal_favourite)"
_TOO_OLD: Final = f"""
    SELECT id FROM focal_gallery WHERE mills < :before AND {_UNMARKED}
    ORDER BY mills, id LIMIT :limit
"""  # noqa: S608 - constants, here and below
_TOO_MANY: Final = f"""
    SELECT id FROM (SELECT id, task_id, mills FROM focal_gallery
                    ORDER BY mills DESC, id DESC LIMIT -1 OFFSET :keep)
    WHERE {_UNMARKED} ORDER BY mills, id LIMIT :limit
"""  # noqa: S608
_OLDEST: Final = f"""
    SELECT id FROM focal_gallery WHERE {_UNMARKED} ORDER BY mills, id LIMIT :limit
"""  # noqa: S608
_RECORDS: Final = """
    SELECT * FROM focal_record WHERE id IN (SELECT value FROM json_each(:ids)) ORDER BY mills, id
"""
_BEHIND: Final = "SELECT * FROM focal_record WHERE id > :after ORDER BY id LIMIT :limit"


class Retention:
    """Moves tasks beyond the limits to the trash. Event loop only."""

    def __init__(self, database: Database, outputs: OutputStore, trash: Trash) -> None:
        self._database = database
        self._outputs = outputs
        self._trash = trash

    async def discard_excess(self, limits: Limits, now_ms: int) -> tuple[str, ...]:
        """Move a batch of the tasks beyond the limits to the trash, expired at once; their ids.

        Call it again, emptying the trash in between, until nothing is returned.
        """
        if limits.seconds:
            before = now_ms - int(limits.seconds * 1000)
            if ids := await self._ids(_TOO_OLD, before=before):
                return await self._discard(ids, now_ms)
        if limits.tasks and (ids := await self._ids(_TOO_MANY, keep=limits.tasks)):
            return await self._discard(ids, now_ms)
        if limits.bytes:
            excess = await self._bytes() - limits.bytes
            if excess > 0 and (ids := await self._ids_of_bytes(excess)):
                return await self._discard(ids, now_ms)
        return ()

    async def _bytes(self) -> int:
        """Bytes of the history's images. Other files in the folder do not count."""
        total, after = 0, -1
        while rows := await self._database.search(_BEHIND, {"after": after, "limit": BATCH}):
            records = await stored_records(rows)
            total += await asyncio.to_thread(sum, map(self._bytes_of, records))
            after = records[-1].id
        return total

    def _bytes_of(self, record: TaskRecord) -> int:
        return sum(self._outputs.size_of(path) for path in record.result or ())

    async def _ids(self, sql: str, **values: int) -> list[int]:
        rows = await self._database.fetch_all(sql, {**values, "limit": BATCH})
        return [int(row["id"]) for row in rows]

    async def _ids_of_bytes(self, excess: int) -> list[int]:
        """The oldest tasks, as many as it takes for their pictures to make up ``excess`` bytes."""
        oldest = msgspec.json.encode(await self._ids(_OLDEST)).decode()
        rows = await self._database.fetch_all(_RECORDS, {"ids": oldest})
        return await asyncio.to_thread(self._enough, [stored_record(row) for row in rows], excess)

    def _enough(self, records: list[TaskRecord], excess: int) -> list[int]:
        chosen: list[int] = []
        for record in records:
            if excess <= 0:
                break
            chosen.append(record.id)
            excess -= self._bytes_of(record)
        return chosen

    async def _discard(self, ids: list[int], now_ms: int) -> tuple[str, ...]:
        values = {"ids": msgspec.json.encode(ids).decode()}
        rows = await self._database.fetch_all(_RECORDS, values)
        await self._trash.discard_rows(ids, now_ms)
        return tuple(str(row["task_id"]) for row in rows)
