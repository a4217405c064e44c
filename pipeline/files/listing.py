"""The model files below a folder, by name. A listing is read again when a folder in it changes."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

MARKER: Final = "model_index.json"  # makes a folder a diffusers model
# A folder's time stamp may be this coarse: a listing read so soon after a change may lack others.
_COARSEST_NS: Final = 2 * 10**9


class FolderListing:
    """Names of the files with given endings, as paths below one folder. Any thread may call.

    The owner may link files and folders from elsewhere; loops of links are followed once.
    """

    def __init__(self, folder: Path, suffixes: tuple[str, ...], *, diffusers: bool = False) -> None:
        """``diffusers``: folders that hold a diffusers model are listed too, as one name each."""
        self._folder = folder
        self._suffixes = suffixes
        self._diffusers = diffusers
        self._read: _Reading | None = None  # replaced whole

    def names(self) -> tuple[str, ...]:
        """The names in alphabetical order, with forward slashes."""
        reading = self._read
        if reading is None or not reading.is_current():
            reading = self._read = self._walk_all()
        return reading.names

    def _walk_all(self) -> "_Reading":
        stamps: dict[str, int] = {}
        started = time.time_ns()
        names = sorted(self._walk(self._folder, "", (), stamps), key=_sort_key)
        settled = all(stamp < started - _COARSEST_NS for stamp in stamps.values())
        return _Reading(tuple(names), stamps if settled else None)

    def _walk(
        self, folder: Path, prefix: str, above: tuple[str, ...], stamps: dict[str, int]
    ) -> Iterator[str]:
        """Names below ``folder``; ``stamps`` gets each folder that was looked into."""
        real = os.path.realpath(folder)
        if real in above:
            return
        stamps[str(folder)] = _stamp(folder)  # before reading: what changes meanwhile is seen
        try:
            entries = list(os.scandir(folder))
        except OSError:
            return
        for entry in entries:
            name = f"{prefix}{entry.name}"
            if entry.name.startswith(".") or not _is_utf8(entry.name):
                continue
            path = Path(entry.path)
            if not entry.is_dir():
                if entry.name.endswith(self._suffixes) and entry.is_file():
                    yield name
            elif self._diffusers and (path / MARKER).is_file():
                stamps[entry.path] = _stamp(path)
                yield name
            else:
                yield from self._walk(path, f"{name}/", (*above, real), stamps)


class _Reading(NamedTuple):
    """The names found, and the time stamp of each folder; None: too new to tell a change by."""

    names: tuple[str, ...]
    stamps: dict[str, int] | None

    def is_current(self) -> bool:
        """Whether no folder has changed since."""
        if self.stamps is None:
            return False
        return all(_stamp(folder) == stamp for folder, stamp in self.stamps.items())


def _stamp(folder: Path | str) -> int:
    """When the folder's entries last changed, in ns; 0 where there is no such folder."""
    try:
        return os.stat(folder).st_mtime_ns  # noqa: PTH116 - at each admission, and the quicker one
    except OSError:
        return 0


def _is_utf8(name: str) -> bool:
    """False for a file name of other bytes, which no JSON reply could carry."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _sort_key(name: str) -> tuple[str, str]:
    return (name.casefold(), name)
