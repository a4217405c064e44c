"""A partial download: the bytes so far and what file they belong to.

Both are kept beside the target, so that a later try resumes. Knows no network.
"""

import hashlib
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

import msgspec

CHUNK_BYTES: Final = 128 * 1024
_MAX_HEADER_BYTES: Final = 100_000_000  # the limit of the safetensors format


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Which file the bytes belong to, as its server said. Empty or 0: it did not say."""

    url: str
    validator: str = ""  # a strong ETag or a Last-Modified date, for If-Range
    total: int = 0  # bytes
    sha256: str = ""


class PartFile:
    """The received bytes of one file. One thread at a time."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self.path = target.with_name(f"{target.name}.part")
        self._origin_path = target.with_name(f"{target.name}.part.json")

    @property
    def size(self) -> int:
        """Bytes there so far."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def origin(self, url: str) -> Origin:
        """What the bytes belong to; if that is unknown or another URL, they are discarded."""
        try:
            origin = msgspec.json.decode(self._origin_path.read_bytes(), type=Origin)
        except (OSError, msgspec.DecodeError):
            origin = None
        if origin is None or origin.url != url:
            self.clear()
            return Origin(url=url)
        return origin

    def begin(self, origin: Origin) -> None:
        """Start at the first byte of ``origin``. Raises OSError."""
        self._origin_path.write_bytes(msgspec.json.encode(origin))
        self.path.write_bytes(b"")

    def note_total(self, total: int) -> None:
        """Record the length of a file whose server did not say it. Raises OSError."""
        origin = msgspec.json.decode(self._origin_path.read_bytes(), type=Origin)
        known = msgspec.structs.replace(origin, total=total)
        self._origin_path.write_bytes(msgspec.json.encode(known))

    def clear(self) -> None:
        """Discard the bytes."""
        self.path.unlink(missing_ok=True)
        self._origin_path.unlink(missing_ok=True)

    def finish(self) -> None:
        """Move the file to its place, atomically. Raises OSError."""
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        self.path.replace(self._target)
        self._origin_path.unlink(missing_ok=True)

    def digest(self, algorithm: Literal["sha256", "md5"], check: Callable[[], None]) -> str:
        """The file's checksum in hexadecimal; ``check`` may raise to end the reading."""
        state = hashlib.new(algorithm, usedforsecurity=False)
        with self.path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES * 8):
                check()
                state.update(chunk)
        return state.hexdigest()

    def is_whole_safetensors(self) -> bool:
        """Whether the file's length is the one that its header implies."""
        with self.path.open("rb") as file:
            head = file.read(8)
            length = struct.unpack("<Q", head)[0] if len(head) == 8 else _MAX_HEADER_BYTES + 1
            if length > _MAX_HEADER_BYTES:
                return False
            try:
                header = json.loads(file.read(length))
                ends = [
                    each["data_offsets"][1] for name, each in header.items() if name[:2] != "__"
                ]
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
                return False
        return self.size == 8 + length + max(ends, default=0)
