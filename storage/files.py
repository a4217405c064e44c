"""Names that are safe to join to a folder, and files that appear whole or not at all."""

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from pipeline.errors import DiskFull, SavingFailed

PICTURE_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")

# No separator of any system, no NUL or other control character, no drive or stream colon, no
# escape; no leading dot, so neither "..", nor hidden files, nor our own temporary ones.
_PLAIN_NAME: Final = re.compile(r"[^\x00-\x1f\x7f/\\:%.][^\x00-\x1f\x7f/\\:%]{0,199}")
_DEVICE_NAME: Final = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")
_PART_SUFFIX: Final = ".part"
_FULL: Final = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
}
_CAUSES: Final = {
    errno.EACCES: "the folder may not be written",
    errno.EPERM: "the folder may not be written",
    errno.EROFS: "the folder is on a read-only disk",
    errno.EFBIG: "the file is larger than this system allows",
}


def picture_in(folder: Path, name: str) -> Path | None:
    """The picture ``name`` in a folder, or None where there is none or ``name`` is no plain name.

    A symbolic link is not followed: the file must really lie there.
    """
    if not _PLAIN_NAME.fullmatch(name) or _DEVICE_NAME.fullmatch(name):
        return None
    path = folder / name
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        return None
    try:
        return path if stat.S_ISREG(path.lstat().st_mode) else None
    except (OSError, ValueError):  # absent, or a name too long
        return None


@contextmanager
def part_file(folder: Path, name: str, data: bytes) -> Iterator[Path]:
    """``data``, safely on disk under a temporary name in ``folder``; gone when the block is left.

    Raises FileExistsError if the same name is being written at this moment.
    """
    part = folder / f".{name}{_PART_SUFFIX}"
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        yield part
    finally:
        part.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make new names in ``folder`` outlive a power cut, where the file system can."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # some network file systems refuse; the data itself is synced
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_parts(folder: Path) -> None:
    """Delete what a crash left half written. For the start, before anything is saved."""
    for part in folder.glob(f".*{_PART_SUFFIX}"):
        part.unlink(missing_ok=True)


def saving_failed(error: OSError, what: str) -> SavingFailed:
    """The system's reason in words, without any path of this machine."""
    if (cause := _FULL.get(error.errno or 0)) is not None:
        return DiskFull(f"{what} could not be saved: {cause}")
    cause = _CAUSES.get(error.errno or 0, error.strerror or "the system refused")
    return SavingFailed(f"{what} could not be saved: {cause}")
