"""Pictures that no row names yet: noted before they get their names, forgotten with the row's end.

After a crash the notes tell which pictures are this server's own and belong to nobody, so that they
can be removed without ever touching a file that a person put there.
"""

import os
import re
from pathlib import Path
from typing import Final, NamedTuple

_TASK_ID: Final = re.compile(r"[0-9A-Za-z_-]{1,64}")


class Noted(NamedTuple):
    """A picture by its path on this server and the inode of the file that was given the name."""

    path: str
    inode: int


class UnrecordedPictures:
    """One file of notes a task, ``<task id>``, in a folder of its own. Any thread may call.

    The notes of one task are written by one thread at a time.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def note(self, task_id: str, noted: Noted) -> None:
        """Add a picture that is about to get its name; on disk when it returns. Raises OSError."""
        if not _TASK_ID.fullmatch(task_id):
            return
        self._folder.mkdir(exist_ok=True)
        with (self._folder / task_id).open("ab") as file:
            file.write(f"{noted.inode} {noted.path}\n".encode())
            file.flush()
            os.fsync(file.fileno())

    def tasks(self) -> list[str]:
        """Ids of the tasks with notes."""
        found = self._folder.iterdir() if self._folder.is_dir() else ()
        return sorted(file.name for file in found if _TASK_ID.fullmatch(file.name))

    def of(self, task_id: str) -> list[Noted]:
        """What was noted for a task. A line that a crash cut short names no picture yet."""
        if not _TASK_ID.fullmatch(task_id):
            return []
        try:
            lines = (self._folder / task_id).read_text("utf-8", "replace").split("\n")
        except FileNotFoundError:
            return []
        parts = [line.partition(" ") for line in lines[:-1]]
        return [Noted(path, int(inode)) for inode, _, path in parts if inode.isdecimal()]

    def forget(self, task_id: str) -> None:
        """Remove the notes of a task. Raises OSError, but not if there are none."""
        if _TASK_ID.fullmatch(task_id):
            (self._folder / task_id).unlink(missing_ok=True)
