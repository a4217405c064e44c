"""Whether model files on disk are the ones that were read: their sizes, times and numbers."""

from pathlib import Path
from typing import NamedTuple


class FileStamp(NamedTuple):
    """What changes when a file is written to or replaced; times are in ns.

    The inode tells a file that was renamed into the place of another, whatever its time.
    """

    name: str  # below the folder; "" for a file by itself
    size: int
    mtime_ns: int
    inode: int


Stamp = tuple[FileStamp, ...]
"""The stamps of every file of a model; () where nothing is there."""


def stamp_of(path: Path) -> Stamp:
    """The stamp of a file, or of all files below a folder."""
    try:
        if not path.is_dir():
            return (_stamp(path, ""),)
        files = sorted(each for each in path.rglob("*") if each.is_file())
        return tuple(_stamp(file, file.relative_to(path).as_posix()) for file in files)
    except OSError:  # it is being replaced at this moment
        return ()


def _stamp(file: Path, name: str) -> FileStamp:
    facts = file.stat()
    return FileStamp(name, facts.st_size, facts.st_mtime_ns, facts.st_ino)
