"""Finished pictures: where they lie, how they are named, and how they get there whole."""

import errno
import logging
import os
import re
import secrets
import weakref
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from pipeline.errors import DiskFull, OutputsMissing, SavingFailed
from pipeline.scheduling.task import MadeImage
from storage.files import (
    PICTURE_SUFFIXES,
    part_file,
    picture_in,
    remove_parts,
    saving_failed,
    sync_folder,
)
from storage.unrecorded import Noted, UnrecordedPictures

log = logging.getLogger(__name__)

_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
THUMBNAILS: Final = ".thumbnails"
_UNRECORDED: Final = ".unrecorded"
RESERVE_BYTES: Final = 2**20  # with less room the disk counts as full: a task could not be kept
_PROBE_BYTES: Final = 2**16
_NUMBERS: Final = 10_000  # the NNNN of a name
_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class OutputStore:
    """Owns ``outputs/YYYY-MM-DD/``. Synchronous; any thread may call.

    The folder is the one that was there at the start. One that takes its place later, or a mount
    that is gone, is none to write to: ``check`` and everything that changes files refuses it.
    """

    def __init__(self, root: Path, link_roots: Sequence[Path] = ()) -> None:
        """Make the folder and remove what a crash left half written.

        The folder of a day may be a link to a folder inside ``root`` or one of ``link_roots``.
        """
        self._root = root
        root.mkdir(parents=True, exist_ok=True)
        self._roots = (root, *link_roots)
        # Held open: the number of a folder that was deleted could be given to its successor.
        self._handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._handle)
        self._refused_room = False  # the last write found none, whatever the system says is free
        self._unrecorded = UnrecordedPictures(root / _UNRECORDED)
        for folder in (*_dated(root), *_dated(root / THUMBNAILS)):
            if self._day(folder) is not None:
                remove_parts(folder)
        remove_parts(root)

    def check(self) -> None:
        """Raise OutputsMissing unless the folder is the one that was there at the start."""
        try:
            there = os.path.samestat(self._root.stat(), os.fstat(self._handle))
        except OSError:
            there = False
        if not there:
            raise OutputsMissing(
                "the outputs folder was deleted, replaced or unmounted while the server ran; put it"
                " back, or restart the server"
            )

    def check_room(self) -> None:
        """Raise DiskFull if there is no room for another task's pictures and row."""
        try:
            free = os.statvfs(self._root)
        except OSError:  # told by ``check``
            return
        if free.f_blocks and free.f_bavail * free.f_frsize < RESERVE_BYTES:
            raise DiskFull("the disk of the outputs folder is full")
        if self._refused_room:
            self._probe()

    def note_full(self) -> None:
        """Something beside the pictures found no room: there is some again once a file fits."""
        self._refused_room = True

    def save(self, made: MadeImage, when: datetime | None = None, *, task_id: str = "") -> str:
        """Write a picture and return its path on this server, ``/outputs/YYYY-MM-DD/….png``.

        With a ``task_id`` the picture is removed at the next start unless ``settle`` came before.
        ``when`` is local time, now by default. Never overwrites. Raises SavingFailed.
        """
        if f".{made.extension}" not in PICTURE_SUFFIXES:
            raise ValueError(f"no picture format: {made.extension!r}")
        moment = datetime.now().astimezone() if when is None else when
        date = f"{moment:%Y-%m-%d}"
        self.check()

        def note(name: str, inode: int) -> None:
            if task_id:
                self._unrecorded.note(task_id, Noted(f"/outputs/{date}/{name}", inode))

        try:
            folder = self._folder_to_write(date)
            stem = f"{moment:%Y-%m-%d_%H-%M-%S}"
            name = _write_new(folder, stem, made.extension, made.data, note)
        except OSError as error:
            self.check()  # it may have gone meanwhile, and that is the better reason
            failed = saving_failed(error, "the picture")
            self._refused_room |= isinstance(failed, DiskFull)
            raise failed from error
        self._refused_room = False
        return f"/outputs/{date}/{name}"

    def settle(self, task_id: str, named: Collection[str]) -> int:
        """The task's row names these pictures: remove all others that were saved for it; how many.

        Only files that ``save`` wrote are removed. One that cannot be is tried again at the next
        start. Raises SavingFailed.
        """
        self.check()
        removed = 0
        try:
            for noted in self._unrecorded.of(task_id):
                found = None if noted.path in named else self._stored(noted.path)
                if found is not None and found.stat().st_ino == noted.inode:
                    self.delete(noted.path)
                    removed += 1
            self._unrecorded.forget(task_id)
        except OSError as error:
            log.warning("pictures that no task names could not be removed: %s", error.strerror)
        return removed

    def unsettled(self) -> list[str]:
        """Ids of the tasks with pictures that perhaps no row names."""
        return self._unrecorded.tasks()

    def resolve(self, date: str, file: str) -> Path | None:
        """The file behind ``/outputs/{date}/{file}``, or None; never anything outside."""
        if not _DATE.fullmatch(date):
            return None
        folder = self._day(self._root / date)
        return None if folder is None else picture_in(folder, file)

    def read(self, path: str) -> bytes:
        """The bytes of the picture of a stored path. Raises FileNotFoundError."""
        found = self._stored(path)
        if found is None:
            raise FileNotFoundError(f"there is no picture {path}")
        return found.read_bytes()

    def delete(self, path: str) -> None:
        """Delete the picture of a stored path; nothing happens if it is none of ours or gone.

        Raises OutputsMissing; OSError if a file is there and cannot be removed.
        """
        self.check()
        found = self._stored(path)
        if found is not None:
            found.unlink(missing_ok=True)
            self.thumbnail_path(found).unlink(missing_ok=True)

    def size_of(self, path: str) -> int:
        """Bytes of the picture of a stored path and its small form; 0 if it is gone."""
        found = self._stored(path)
        return 0 if found is None else _bytes_of(found) + _bytes_of(self.thumbnail_path(found))

    def thumbnail_path(self, picture: Path) -> Path:
        """Where the small form of a resolved picture lies, if it was made already.

        The folder's name begins with a dot, so no path in a request leads into it.
        """
        return self._root / THUMBNAILS / picture.parent.name / f"{picture.name}.webp"

    def _day(self, folder: Path) -> Path | None:
        """The folder of a day, links resolved; None if it leads outside of the allowed roots.

        Reading and writing go by this one rule.
        """
        if not folder.is_symlink():
            return folder
        try:
            real = folder.resolve(strict=True)
            roots = [root.resolve() for root in self._roots]
        except (OSError, RuntimeError):  # absent, or a loop of links
            return None
        return real if any(real.is_relative_to(root) for root in roots) else None

    def _folder_to_write(self, date: str) -> Path:
        folder = self._day(self._root / date)
        if folder is None:
            raise SavingFailed(
                f"the picture could not be saved: the folder {date} is a link to a place that"
                " --outputs-roots does not allow"
            )
        folder.mkdir(exist_ok=True)  # the root itself is never made again
        return folder

    def _probe(self) -> None:
        name = f"probe.{secrets.token_hex(8)}"
        try:
            with part_file(self._root, name, b"\0" * _PROBE_BYTES):
                pass
        except OSError as error:
            failed = saving_failed(error, "a file in the outputs folder")
            if isinstance(failed, DiskFull):
                raise failed from error
        self._refused_room = False

    def _stored(self, path: str) -> Path | None:
        match path.split("/"):
            case ["", "outputs", date, file]:
                return self.resolve(date, file)
            case _:
                return None


def _dated(root: Path) -> list[Path]:
    """Folders of single days, links included; none where ``root`` is not there."""
    folders = root.iterdir() if root.is_dir() else ()
    return [folder for folder in folders if _DATE.fullmatch(folder.name) and folder.is_dir()]


def _bytes_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # absent, or deleted just now
        return 0


def _write_new(
    folder: Path, stem: str, extension: str, data: bytes, note: Callable[[str, int], None]
) -> str:
    """Write a picture under a name of its own; ``note`` gets name and inode before it appears.

    Raises OSError, and leaves nothing behind then.
    """
    first = secrets.randbelow(_NUMBERS)
    for step in range(_NUMBERS):
        name = f"{stem}_{(first + step) % _NUMBERS:04d}.{extension}"
        if (folder / name).exists():
            continue
        try:
            with part_file(folder, name, data) as part:
                note(name, part.stat().st_ino)
                _publish(part, folder / name)
        except FileExistsError:  # another thread or process took the name in between
            continue
        try:
            sync_folder(folder)
        except OSError:
            with suppress(OSError):
                (folder / name).unlink()
            raise
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
