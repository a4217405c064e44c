"""Single deleted tasks: whole rows that wait until the deletion can no longer be taken back."""

from typing import Final

import aiosqlite
import msgspec

from storage.database import Database
from storage.records import TaskRecord, stored_record

COLUMNS: Final = (
    "id, task_id, req_params, in_queue_mills, start_mills, finish_mills, task_status, progress,"
    " webhook_url, result"
)
_THROW: Final = f"""
    INSERT INTO focal_trash ({COLUMNS}, until_mills)
    SELECT {COLUMNS}, :until FROM generate_record
    WHERE id IN (SELECT id FROM focal_ended WHERE task_id = :task_id)
"""  # noqa: S608 - a constant
_REMOVE: Final = """
    DELETE FROM generate_record WHERE id IN (SELECT id FROM focal_ended WHERE task_id = :task_id)
"""
_RESTORE: Final = f"""
    INSERT INTO generate_record ({COLUMNS})
    SELECT {COLUMNS} FROM focal_trash WHERE task_id = :task_id
"""  # noqa: S608
_EXPIRED: Final = """
    SELECT trash.*, '' AS error, '' AS code, '' AS notes FROM focal_trash trash
    WHERE until_mills <= :now ORDER BY id LIMIT 500
"""
_FORGET: Final = (
    "DELETE FROM focal_trash WHERE id IN (SELECT value FROM json_each(:ids))",
    "DELETE FROM focal_task WHERE task_id IN (SELECT value FROM json_each(:task_ids))",
    "DELETE FROM idempotency WHERE task_id IN (SELECT value FROM json_each(:task_ids))",
    "DELETE FROM focal_favourite WHERE task_id IN (SELECT value FROM json_each(:task_ids))",
)


class Trash:
    """Throws ended tasks away, gives them back, and empties itself. Event loop only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def throw(self, task_id: str, until_ms: int) -> bool:
        """Take an ended task out of the history until ``until_ms``; False if there is none."""
        async with self._database.transaction() as connection:
            values = {"task_id": task_id, "until": until_ms}
            thrown = (await connection.execute(_THROW, values)).rowcount > 0
            await connection.execute(_REMOVE, {"task_id": task_id})
        return thrown

    async def restore(self, task_id: str) -> bool:
        """Put a task back where it was; False if it is not here (any more)."""
        async with self._database.transaction() as connection:
            cursor = await connection.execute(_RESTORE, {"task_id": task_id})
            if cursor.rowcount < 1:
                return False
            await connection.execute(
                "DELETE FROM focal_trash WHERE task_id = :task_id", {"task_id": task_id}
            )
        return True

    async def empty(self, now_ms: int) -> list[TaskRecord]:
        """Forget, a few hundred at a time, those whose time is over, and return them.

        Their files are the caller's to delete.
        """
        async with self._database.transaction() as connection:
            rows = await connection.execute_fetchall(_EXPIRED, {"now": now_ms})
            records = [stored_record(row) for row in rows]
            await _forget(connection, records)
        return records


async def _forget(connection: aiosqlite.Connection, records: list[TaskRecord]) -> None:
    values = {
        "ids": msgspec.json.encode([record.id for record in records]).decode(),
        "task_ids": msgspec.json.encode([record.task_id for record in records]).decode(),
    }
    for statement in _FORGET:
        await connection.execute(statement, values)
