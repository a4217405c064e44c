"""Whether pictures and rows can be kept: the outputs folder, the database in it, the room left."""

from pathlib import Path

from pipeline.errors import OutputsMissing, SavingFailed
from storage.outputs import OutputStore


class StorageWatch:
    """Looks after the storage of one server, from the open database on.

    ``look`` blocks and may be called on any thread; ``problem`` is what the newest look found.
    """

    def __init__(self, outputs: OutputStore, database: Path) -> None:
        """``database`` is open: its file keeps its number for as long."""
        self.problem: SavingFailed | None = None
        self._outputs = outputs
        self._database = database
        self._identity = _identity(database)

    def look(self) -> SavingFailed | None:
        """Why no task can be kept now; None if one can."""
        try:
            self._outputs.check()
            if _identity(self._database) != self._identity:
                raise OutputsMissing(
                    "the database in the outputs folder was deleted or replaced while the server"
                    " ran; put it back, or restart the server"
                )
            self._outputs.check_room()
        except SavingFailed as error:
            self.problem = error
        else:
            self.problem = None
        return self.problem

    def check(self) -> None:
        """Raise what ``look`` finds."""
        if (problem := self.look()) is not None:
            raise problem


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
