"""What people changed about the queue, kept over a restart: its order and whether it is paused."""

from collections.abc import Iterable
from typing import Final

import msgspec

from pipeline.scheduling.queue import Waiting
from pipeline.scheduling.task import Task
from storage.database import Database

_SAVE: Final = """
    INSERT INTO focal_place SELECT value ->> 0, key, value ->> 1 FROM json_each(:line)
"""
_SWITCH: Final = """
    INSERT INTO focal_switch VALUES ('paused', :on) ON CONFLICT (name) DO UPDATE SET is_on = :on
"""


class QueueState:
    """Remembers the line as people arranged it. Event loop only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def save_line(self, line: Iterable[Waiting]) -> None:
        """Remember places and priorities; who comes later stands behind."""
        entries = [(waiting.task.task_id, waiting.priority) for waiting in line]
        async with self._database.transaction() as connection:
            await connection.execute("DELETE FROM focal_place")
            await connection.execute(_SAVE, {"line": msgspec.json.encode(entries).decode()})

    async def save_paused(self, paused: bool) -> None:
        """Remember whether the queue is paused."""
        async with self._database.transaction() as connection:
            await connection.execute(_SWITCH, {"on": paused})

    async def is_paused(self) -> bool:
        """Was the queue paused when it was last changed?"""
        row = await self._database.fetch_one(
            "SELECT is_on FROM focal_switch WHERE name = 'paused'", {}
        )
        return row is not None and bool(row["is_on"])

    async def arranged(self, tasks: Iterable[Task]) -> list[Waiting]:
        """``tasks`` with their priorities: first those with a place, then the others as given."""
        rows = await self._database.fetch_all("SELECT * FROM focal_place ORDER BY place", {})
        left = {task.task_id: task for task in tasks}
        placed = [
            Waiting(task=left.pop(row["task_id"]), priority=row["priority"])
            for row in rows
            if row["task_id"] in left
        ]
        return [*placed, *(Waiting(task=task) for task in left.values())]
