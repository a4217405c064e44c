"""Pictures that requests bring along: each stored once, under the hash of its bytes."""

import hashlib
import re
import secrets
from pathlib import Path
from typing import Final

from pipeline.errors import InputMissing
from storage.files import part_file, picture_in, remove_parts, saving_failed, sync_folder

_FORMAT: Final = re.compile(r"[a-z0-9]{1,5}")


class InputStore:
    """Owns ``inputs/``. Synchronous; any thread may call."""

    def __init__(self, root: Path) -> None:
        """Make the folder and remove what a crash left half written."""
        self._root = root
        root.mkdir(parents=True, exist_ok=True)
        remove_parts(root)

    def store(self, data: bytes, extension: str) -> str:
        """Write the picture unless it is there; its path, ``/inputs/<sha256>.<extension>``.

        Raises SavingFailed.
        """
        if not _FORMAT.fullmatch(extension):
            raise ValueError(f"no picture format: {extension!r}")
        name = f"{hashlib.sha256(data).hexdigest()}.{extension}"
        try:
            if not (self._root / name).exists():
                self._write(name, data)
        except OSError as error:
            raise saving_failed(error, "the input picture") from error
        return f"/inputs/{name}"

    def resolve(self, file: str) -> Path | None:
        """The file behind ``/inputs/{file}``, or None; never anything outside the folder."""
        return picture_in(self._root, file)

    def read(self, path: str) -> bytes:
        """The picture at ``/inputs/<name>``. Raises InputMissing."""
        found = self.resolve(path.removeprefix("/inputs/"))
        if found is None:
            raise InputMissing(f"the input picture {path} is not there any more")
        return found.read_bytes()

    def _write(self, name: str, data: bytes) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        # Another thread may be writing these very bytes; each has a temporary name of its own.
        with part_file(self._root, f"{name}.{secrets.token_hex(8)}", data) as part:
            part.rename(self._root / name)
        sync_folder(self._root)
