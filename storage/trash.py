"""Deleted tasks: whole rows that wait until they can no longer be restored.

Every deletion goes this way, so that one place knows which tables a task has rows in.
"""

from typing import Final

import aiosqlite
import msgspec

from storage.database import Database
from storage.records import TaskRecord, stored_record, stored_result

BATCH: Final = 500  # tasks a transaction, so that a large deletion holds up no new task

_COLUMNS: Final = (
    "id, task_id, req_params, in_queue_mills, start_mills, finish_mills, task_status, progress,"
    " webhook_url, result"
)
_OF_TASK: Final = "SELECT id FROM focal_ended WHERE task_id = :task_id"
_OF_RANGE: Final = """
    SELECT * FROM focal_record WHERE id IN
        (SELECT id FROM focal_ended
         WHERE mills BETWEEN :start AND :end AND (mills, id) < (:mills, :id)
         ORDER BY mills DESC, id DESC LIMIT :limit)
    ORDER BY mills DESC, id DESC
"""
_DISCARD: Final = f"""
    INSERT INTO focal_trash ({_COLUMNS}, until_mills) SELECT {_COLUMNS}, :until FROM generate_record
    WHERE id IN (SELECT value FROM json_each(:ids))
"""  # noqa: S608 - constants, here and below
_REMOVE: Final = "DELETE FROM generate_record WHERE id IN (SELECT value FROM json_each(:ids))"
_RESTORE: Final = f"""
    INSERT INTO generate_record ({_COLUMNS})
    SELECT {_COLUMNS} FROM focal_trash WHERE id IN (SELECT value FROM json_each(:ids))
"""  # noqa: S608
_IN_TRASH: Final = "SELECT id FROM focal_trash WHERE task_id = :task_id"
_RESULT: Final = "SELECT result FROM focal_trash WHERE task_id = :task_id"
_LAST: Final = 2**62  # above every time and row id
_EXPIRED: Final = """
    SELECT trash.*, task.error, task.code, task.notes, task.family, task.key_name
    FROM focal_trash trash
    LEFT JOIN focal_task task ON task.task_id = trash.task_id
    WHERE trash.until_mills <= :now AND trash.id > :after ORDER BY trash.id LIMIT :limit
"""
_FORGET: Final = "DELETE FROM focal_trash WHERE id IN (SELECT value FROM json_each(:ids))"
_BESIDE: Final = ("focal_task", "idempotency", "focal_favourite", "focal_order", "focal_board_task")
_FORGET_BESIDE: Final = tuple(
    f"DELETE FROM {table} WHERE task_id IN (SELECT value FROM json_each(:task_ids))"  # noqa: S608
    for table in _BESIDE
)


class Trash:
    """Holds deleted tasks: restores them, or forgets them for good. Event loop only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def discard(self, task_id: str, until_ms: int) -> bool:
        """Move an ended task here, to be restored until ``until_ms``; False if there is none."""
        async with self._database.transaction() as connection:
            rows = await connection.execute_fetchall(_OF_TASK, {"task_id": task_id})
            ids = [int(row["id"]) for row in rows]
            await _discard(connection, ids, until_ms)
        return bool(ids)

    async def discard_rows(self, ids: list[int], until_ms: int) -> None:
        """Move the ended tasks with these row ids here."""
        async with self._database.transaction() as connection:
            await _discard(connection, ids, until_ms)

    async def discard_range(
        self, start_ms: int, end_ms: int, until_ms: int, older_than: TaskRecord | None = None
    ) -> list[TaskRecord]:
        """Move the newest ended tasks that were queued in the range here, both ends included.

        A batch at a time, from the first task behind ``older_than`` on; an empty one when there are
        no more. Tasks that wait or run stay.
        """
        values = _range(start_ms, end_ms, older_than)
        async with self._database.transaction() as connection:
            rows = await connection.execute_fetchall(_OF_RANGE, values)
            records = [stored_record(row) for row in rows]
            await _discard(connection, [record.id for record in records], until_ms)
        return records

    async def next_of_range(
        self, start_ms: int, end_ms: int, older_than: TaskRecord | None = None
    ) -> list[TaskRecord]:
        """What ``discard_range`` would move; writes nothing."""
        values = _range(start_ms, end_ms, older_than)
        return [stored_record(row) for row in await self._database.fetch_all(_OF_RANGE, values)]

    async def restore(self, task_id: str) -> bool:
        """Move a task back into the history; False if it is not here (any more)."""
        async with self._database.transaction() as connection:
            rows = await connection.execute_fetchall(_IN_TRASH, {"task_id": task_id})
            ids = [int(row["id"]) for row in rows]
            await _restore(connection, ids)
        return bool(ids)

    async def restore_rows(self, ids: list[int]) -> None:
        """Move the tasks with these row ids back into the history."""
        async with self._database.transaction() as connection:
            await _restore(connection, ids)

    async def result_of(self, task_id: str) -> list[str]:
        """The pictures of a task that is here; none if it is not."""
        rows = await self._database.fetch_all(_RESULT, {"task_id": task_id})
        return [path for row in rows for path in stored_result(row["result"]) or ()]

    async def expired(self, now_ms: int, after: int = -1) -> list[TaskRecord]:
        """A batch of tasks that can no longer be restored, by row id, from above ``after`` on."""
        values = {"now": now_ms, "after": after, "limit": BATCH}
        return [stored_record(row) for row in await self._database.fetch_all(_EXPIRED, values)]

    async def forget(self, records: list[TaskRecord]) -> None:
        """Remove every row of these tasks for good, once the caller has removed their files."""
        values = {
            "ids": msgspec.json.encode([record.id for record in records]).decode(),
            "task_ids": msgspec.json.encode([record.task_id for record in records]).decode(),
        }
        async with self._database.transaction() as connection:
            for statement in (_FORGET, *_FORGET_BESIDE):
                await connection.execute(statement, values)


def _range(start_ms: int, end_ms: int, older_than: TaskRecord | None) -> dict[str, int]:
    return {
        "start": start_ms,
        "end": end_ms,
        "mills": _LAST if older_than is None else older_than.in_queue_mills or 0,
        "id": _LAST if older_than is None else older_than.id,
        "limit": BATCH,
    }


async def _restore(connection: aiosqlite.Connection, ids: list[int]) -> None:
    values = {"ids": msgspec.json.encode(ids).decode()}
    await connection.execute(_RESTORE, values)
    await connection.execute(_FORGET, values)


async def _discard(connection: aiosqlite.Connection, ids: list[int], until_ms: int) -> None:
    values = {"ids": msgspec.json.encode(ids).decode(), "until": until_ms}
    await connection.execute(_DISCARD, values)
    await connection.execute(_REMOVE, values)
