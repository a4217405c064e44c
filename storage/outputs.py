"""Finished pictures: where they lie, how they are named, and how they get there whole."""

import errno
import os
import re
import secrets
from datetime import datetime
from pathlib import Path
from typing import Final

from pipeline.errors import SavingFailed
from pipeline.scheduling.task import MadeImage
from storage.files import (
    PICTURE_SUFFIXES,
    part_file,
    picture_in,
    remove_parts,
    saving_failed,
    sync_folder,
)

_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
THUMBNAILS: Final = ".thumbnails"
_NUMBERS: Final = 10_000  # the NNNN of a name
_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class OutputStore:
    """Owns ``outputs/YYYY-MM-DD/``. Synchronous; any thread may call."""

    def __init__(self, root: Path) -> None:
        """Make the folder and remove what a crash left half written."""
        self._root = root
        root.mkdir(parents=True, exist_ok=True)
        for folder in (*_dated(root), *_dated(root / THUMBNAILS)):
            remove_parts(folder)

    def save(self, made: MadeImage, when: datetime | None = None) -> str:
        """Write a picture and return its path on this server, ``/outputs/YYYY-MM-DD/….png``.

        ``when`` is local time, now by default. Never overwrites. Raises SavingFailed.
        """
        if f".{made.extension}" not in PICTURE_SUFFIXES:
            raise ValueError(f"no picture format: {made.extension!r}")
        moment = datetime.now().astimezone() if when is None else when
        date = f"{moment:%Y-%m-%d}"
        folder = self._root / date
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stem = f"{moment:%Y-%m-%d_%H-%M-%S}"
            name = _write_new(folder, stem, made.extension, made.data)
            sync_folder(folder)
        except OSError as error:
            raise saving_failed(error, "the picture") from error
        return f"/outputs/{date}/{name}"

    def resolve(self, date: str, file: str) -> Path | None:
        """The file behind ``/outputs/{date}/{file}``, or None; never anything outside."""
        return picture_in(self._root, date, file) if _DATE.fullmatch(date) else None

    def read(self, path: str) -> bytes:
        """The bytes of the picture of a stored path. Raises FileNotFoundError."""
        found = self._stored(path)
        if found is None:
            raise FileNotFoundError(f"there is no picture {path}")
        return found.read_bytes()

    def delete(self, path: str) -> None:
        """Delete the picture of a stored path; nothing happens if it is none of ours or gone."""
        found = self._stored(path)
        if found is not None:
            self.thumbnail_path(found).unlink(missing_ok=True)
            found.unlink(missing_ok=True)

    def size_of(self, path: str) -> int:
        """Bytes of the picture of a stored path and its small form; 0 if it is gone."""
        found = self._stored(path)
        return 0 if found is None else _bytes_of(found) + _bytes_of(self.thumbnail_path(found))

    def thumbnail_path(self, picture: Path) -> Path:
        """Where the small form of a resolved picture lies, if it was made already.

        The folder's name begins with a dot, so no path in a request leads into it.
        """
        return self._root / THUMBNAILS / picture.parent.name / f"{picture.name}.webp"

    def _stored(self, path: str) -> Path | None:
        match path.split("/"):
            case ["", "outputs", date, file]:
                return self.resolve(date, file)
            case _:
                return None


def _dated(root: Path) -> list[Path]:
    """Our folders of single days; none where ``root`` is not there."""
    folders = root.iterdir() if root.is_dir() else ()
    return [
        folder
        for folder in folders
        if _DATE.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink()
    ]


def _bytes_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # absent, or deleted just now
        return 0


def _write_new(folder: Path, stem: str, extension: str, data: bytes) -> str:
    first = secrets.randbelow(_NUMBERS)
    for step in range(_NUMBERS):
        name = f"{stem}_{(first + step) % _NUMBERS:04d}.{extension}"
        if (folder / name).exists():
            continue
        try:
            with part_file(folder, name, data) as part:
                _publish(part, folder / name)
        except FileExistsError:  # another thread or process took the name in between
            continue
        return name
    raise SavingFailed("the picture could not be saved: every name of this second is taken")


def _publish(part: Path, final: Path) -> None:
    """Give ``part`` its name in one step. Raises FileExistsError rather than replace a file."""
    try:
        os.link(part, final)  # unlike a rename, a link never replaces
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        part.rename(final)  # FAT and its like; the part's name kept our own threads away
