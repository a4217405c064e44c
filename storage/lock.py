"""One server an outputs folder: two would run each other's waiting tasks twice."""

import errno
import fcntl
import os
from pathlib import Path
from typing import Final

NAME: Final = ".lock"
_TAKEN: Final = (errno.EAGAIN, errno.EACCES)


class FolderInUse(Exception):
    """Another server has the folder."""


class FolderLock:
    """Keeps other servers out of a folder for as long as this process lives.

    The system takes the lock back when the process ends, however it ends: nothing is left to be
    removed by hand. Raises FolderInUse; OSError where the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(folder / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _TAKEN:  # some network file systems know no locks
                return
            self.release()
            raise FolderInUse(
                f"another server uses the outputs folder {folder}; stop it, or give this one"
                " another with --outputs-dir"
            ) from None

    def release(self) -> None:
        """Let another server in."""
        os.close(self._descriptor)
