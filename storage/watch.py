"""Whether pictures and rows can be kept: the outputs folder, the database in it, the room left."""

import asyncio
from pathlib import Path

from pipeline.errors import DatabaseLocked, OutputsMissing, SavingFailed
from storage.database import Database
from storage.outputs import OutputStore


class StorageWatch:
    """Looks after the storage of one server, from the open database on."""

    def __init__(self, outputs: OutputStore, path: Path, database: Database) -> None:
        """``path`` is the open database's file, which keeps its number for as long."""
        self._outputs = outputs
        self._path = path
        self._database = database
        self._identity = _identity(path)
        self._found: SavingFailed | None = None

    @property
    def problem(self) -> SavingFailed | None:
        """Why no task can be kept, as far as is known without another look. Event loop only."""
        if self._found is None and self._database.is_locked:
            return DatabaseLocked(
                "another process holds the history database; nothing is taken until it lets go"
            )
        return self._found

    async def look(self) -> SavingFailed | None:
        """Why no task can be kept now; None if one can."""
        if await asyncio.to_thread(self._look) is None:
            await self._database.probe()
        return self.problem

    def check(self) -> None:
        """Raise if folder or disk take no task. Blocks; any thread.

        Of a locked database the write tells, which waits for it a little.
        """
        if (problem := self._look()) is not None:
            raise problem

    def _look(self) -> SavingFailed | None:
        try:
            self._outputs.check()
            if _identity(self._path) != self._identity:
                raise OutputsMissing(
                    "the database in the outputs folder was deleted or replaced while the server"
                    " ran; put it back, or restart the server"
                )
            self._outputs.check_room()
        except SavingFailed as error:
            self._found = error
        else:
            self._found = None
        return self._found


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
