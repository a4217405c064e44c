"""The queue as people arranged it, kept over a restart: priorities, order, and the pause."""

from collections.abc import Iterable
from fractions import Fraction
from typing import Final

from pipeline.scheduling.queue import Waiting
from storage.database import Database
from storage.open_rows import OpenRow

_SAVE: Final = """
    INSERT INTO focal_order VALUES (:task_id, :priority, :rank)
    ON CONFLICT (task_id) DO UPDATE SET priority = :priority, rank = :rank
"""
_FORGET_ENDED: Final = """
    DELETE FROM focal_order WHERE task_id NOT IN (SELECT task_id FROM focal_open)
"""
_SWITCH: Final = """
    INSERT INTO focal_switch VALUES ('paused', :on) ON CONFLICT (name) DO UPDATE SET is_on = :on
"""


class QueueState:
    """Reads and writes what people changed about the queue. Event loop only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def save(self, entry: Waiting) -> None:
        """Remember the priority and order of a task that was moved: one row."""
        values = {
            "task_id": entry.task.task_id,
            "priority": entry.priority,
            "rank": str(entry.order),
        }
        async with self._database.transaction() as connection:
            await connection.execute(_SAVE, values)

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

    async def arranged(self, rows: Iterable[OpenRow]) -> list[Waiting]:
        """The tasks of these rows with the priorities and orders that were saved.

        Forgets those of tasks that have ended.
        """
        async with self._database.transaction() as connection:
            await connection.execute(_FORGET_ENDED)
        saved = {
            row["task_id"]: (int(row["priority"]), Fraction(row["rank"]))
            for row in await self._database.fetch_all("SELECT * FROM focal_order", {})
        }
        entries = []
        for row in rows:
            priority, order = saved.get(row.task.task_id, (0, Fraction(row.id)))
            entries.append(Waiting(task=row.task, priority=priority, order=order))
        return entries
