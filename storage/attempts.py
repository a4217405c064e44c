"""Counts the unfinished runs of each task, so that one that kills the server stops in the end."""

import logging
import sqlite3
from typing import Final

from storage.database import WRITE_WAIT_S, Database

log = logging.getLogger(__name__)

_BEGIN: Final = """
    INSERT INTO focal_attempt VALUES (:task_id, 1)
    ON CONFLICT (task_id) DO UPDATE SET runs = runs + 1
"""
_COUNT: Final = "SELECT runs FROM focal_attempt WHERE task_id = :task_id"
_FORGIVE: Final = "UPDATE focal_attempt SET runs = runs - 1 WHERE task_id = :task_id"


class AttemptCounter:
    """As ``pipeline.scheduling.attempts.Attempts``. Event loop only.

    Triggers remove the count of a task that ends or is deleted. A database that cannot be written
    makes a task no failure: its run is not counted.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, task_id: str) -> int:
        """As ``Attempts.begin``; committed when it returns."""
        values = {"task_id": task_id}
        try:
            async with self._database.transaction(WRITE_WAIT_S) as connection:
                await connection.execute(_BEGIN, values)
                rows = list(await connection.execute_fetchall(_COUNT, values))
        except sqlite3.Error as error:
            log.warning("the run of task %s is not counted: %s", task_id, error)
            return 1
        return int(rows[0]["runs"])

    async def forgive(self, task_id: str) -> None:
        """As ``Attempts.forgive``."""
        try:
            async with self._database.transaction(WRITE_WAIT_S) as connection:
                await connection.execute(_FORGIVE, {"task_id": task_id})
        except sqlite3.Error as error:
            log.warning("the run of task %s stays counted: %s", task_id, error)
