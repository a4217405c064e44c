"""Read leases of Linux on mapped model files (fcntl(2), "Leases"). Torch-free."""

import errno
import fcntl
import logging
import os
import signal
import weakref
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

_NOTICE: Final = signal.SIGURG  # ignored by default; SIGIO, the default here, ends the process


class ReadLease:
    """Makes other processes wait before they write to these files or cut them.

    Whoever opens one for that waits until the lease is released or 45 s have passed
    (``/proc/sys/fs/lease-break-time``): a page that is mapped does not vanish while it is read
    (SIGBUS). A file that can have no lease is left without one: it is another user's, is open for
    writing already, or lies on a file system or platform that knows none.
    """

    def __init__(self, path: Path) -> None:
        """``path`` is a file, or a folder of safetensors files."""
        held: list[int] = []
        files = sorted(path.rglob("*.safetensors")) if path.is_dir() else [path]
        for file in files:
            try:
                held.append(_leased(file))
            except OSError as error:  # so the files are only looked at before each step
                log.info("%s may be cut while it is used: %s", file.name, error.strerror)
        self._held = tuple(held)
        self._close = weakref.finalize(self, _close, self._held)

    @property
    def is_wanted(self) -> bool:
        """Does another process wait to write to a file, or is the lease over?"""
        if not self._close.alive:
            return True
        return any(fcntl.fcntl(each, fcntl.F_GETLEASE) != fcntl.F_RDLCK for each in self._held)

    def release(self) -> None:
        """Let those go on that wait. Nothing may read the mapped pages any more."""
        self._close()


def _leased(file: Path) -> int:
    """A descriptor of the file that holds a lease. Raises OSError."""
    if not hasattr(fcntl, "F_SETLEASE"):  # Linux only
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, _NOTICE)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _close(descriptors: tuple[int, ...]) -> None:
    for each in descriptors:
        os.close(each)
