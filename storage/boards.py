"""Boards: named collections of ended tasks. A task may be on several; a board may be empty."""

import sqlite3
from collections.abc import Sequence
from typing import Final

import msgspec

from bus.events import now_ms
from storage.database import Database

_LIST: Final = """
    SELECT b.name, (SELECT count(*) FROM focal_board_task t JOIN focal_gallery g USING (task_id)
                    WHERE t.board = b.name) AS tasks
    FROM focal_board b ORDER BY b.name COLLATE NOCASE, b.name
"""
_MAKE: Final = "INSERT INTO focal_board VALUES (:name, :mills) ON CONFLICT DO NOTHING"
_ADD: Final = """
    INSERT INTO focal_board_task SELECT :name, g.task_id, :mills
    FROM json_each(:ids) i JOIN focal_gallery g ON g.task_id = i.value
    WHERE true ON CONFLICT DO NOTHING
"""
_TAKE_OUT: Final = """
    DELETE FROM focal_board_task
    WHERE board = :name AND task_id IN (SELECT value FROM json_each(:ids))
"""


class Board(msgspec.Struct, frozen=True):
    """A board and how many tasks of the history are on it."""

    name: str
    tasks: int


class BoardRepository:
    """Reads and writes boards. Event loop only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> list[Board]:
        """Every board by name."""
        rows = await self._database.fetch_all(_LIST, {})
        return [Board(name=row["name"], tasks=row["tasks"]) for row in rows]

    async def change(self, name: str, add: Sequence[str], remove: Sequence[str]) -> None:
        """Make the board if it is new; put ended tasks on it and take others off.

        Ids that are not in the history are left out.
        """
        added, removed = (msgspec.json.encode(ids).decode() for ids in (add, remove))

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_MAKE, {"name": name, "mills": now_ms()})
            connection.execute(_ADD, {"name": name, "mills": now_ms(), "ids": added})
            connection.execute(_TAKE_OUT, {"name": name, "ids": removed})

        await self._database.write(work)

    async def rename(self, name: str, to: str) -> bool:
        """Give a board another name; False if there is none, or another one has that name."""

        def work(connection: sqlite3.Connection) -> bool:
            values = {"name": name, "to": to}
            renamed = connection.execute(
                "UPDATE OR IGNORE focal_board SET name = :to WHERE name = :name", values
            )
            if not renamed.rowcount:
                return False
            connection.execute(
                "UPDATE focal_board_task SET board = :to WHERE board = :name", values
            )
            return True

        return await self._database.write(work)

    async def delete(self, name: str) -> bool:
        """Delete a board; its tasks stay in the history. False if there is none."""

        def work(connection: sqlite3.Connection) -> bool:
            deleted = connection.execute("DELETE FROM focal_board WHERE name = ?", (name,))
            connection.execute("DELETE FROM focal_board_task WHERE board = ?", (name,))
            return deleted.rowcount > 0

        return await self._database.write(work)
