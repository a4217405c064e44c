"""SHA-256 hashes of model files: computed once per file in the background, and kept on disk.

What a checkpoint of 7 GB takes to read is never waited for: until its hash is known there is none.
"""

import hashlib
import logging
import os
import struct
import tempfile
import threading
import time
from collections import deque
from pathlib import Path
from typing import Final, Protocol

import msgspec

from pipeline.files.catalog import LORAS

log = logging.getLogger(__name__)

_FILE: Final = ".hashes.json"
_CHUNK_BYTES: Final = 8 * 2**20
_MAX_HEADER_BYTES: Final = 100_000_000  # safetensors' own limit
_SHORT: Final = 10
_TENSORS: Final = 12
_SAFETENSORS: Final = ".safetensors"


class FileHashes(msgspec.Struct, frozen=True, kw_only=True):
    """The hashes of one file as it was, told by its size, time of change (ns) and inode."""

    size: int
    mtime_ns: int
    inode: int
    sha256: str
    tensors: str = ""  # SHA-256 of a safetensors file behind its header; of LoRAs only

    @property
    def identity(self) -> tuple[int, int, int]:
        """What tells the file as it was."""
        return self.size, self.mtime_ns, self.inode

    @property
    def short(self) -> str:
        """A1111's short hash of a model, Civitai's AutoV2, Fooocus's hash of models and LoRAs."""
        return self.sha256[:_SHORT]

    @property
    def short_tensors(self) -> str:
        """A1111's short hash of a LoRA, Civitai's AutoV3; "" where there is none."""
        return self.tensors[:_TENSORS]


class KnowsHashes(Protocol):
    """Gives the hashes of model files, as ``HashCache`` does."""

    def known(self, folder: str, name: str) -> FileHashes | None:
        """The file's hashes; None while they are not known."""


class HashCache:
    """The hashes of the files below one models folder. Any thread may call."""

    def __init__(self, models_dir: Path) -> None:
        self._models_dir = models_dir
        self._file = models_dir / _FILE
        self._lock = threading.Lock()
        self._known: dict[str, FileHashes] = {}  # by folder/name
        self._wanted: deque[str] = deque()
        self._thread: threading.Thread | None = None

    def known(self, folder: str, name: str) -> FileHashes | None:
        """The file's hashes. None where there is no such file, and until they are computed."""
        key = f"{folder}/{name}"
        identity = _identity(self._models_dir / key)
        if identity is None:
            return None
        with self._lock:
            found = self._known.get(key)
            if found is None or found.identity != identity:
                found = self._read().get(key)  # another cache may have computed it meanwhile
            if found is not None and found.identity == identity:
                self._known[key] = found
                return found
            self._want(key)
        return None

    def wait(self, timeout_s: float) -> bool:
        """Wait until everything wanted so far is computed; whether it was in time."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)
        return self._thread is None

    def _want(self, key: str) -> None:
        if key in self._wanted:
            return
        self._wanted.append(key)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="hashes", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        """Compute what is wanted, one file after another, at half speed at most."""
        while True:
            with self._lock:
                if not self._wanted:
                    self._thread = None
                    return
                key = self._wanted[0]
            found = hash_file(self._models_dir / key, tensors=key.startswith(f"{LORAS}/"))
            with self._lock:
                self._wanted.popleft()
                if found is not None:
                    self._known[key] = found
                    self._write()

    def _read(self) -> dict[str, FileHashes]:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=dict[str, FileHashes])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError) as error:
            log.warning("%s cannot be read, files are hashed anew: %s", self._file, error)
            return {}

    def _write(self) -> None:
        """Replace the file; entries that another process has added meanwhile are kept."""
        known = {**self._read(), **self._known}
        try:
            descriptor, name = tempfile.mkstemp(prefix=_FILE, dir=self._models_dir)
            written = Path(name)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(msgspec.json.encode(known))
                written.replace(self._file)
            finally:
                written.unlink(missing_ok=True)  # there only if that failed
        except OSError as error:
            log.warning("%s cannot be written, hashes are kept in memory: %s", self._file, error)


def hash_file(path: Path, *, tensors: bool) -> FileHashes | None:
    """Hash a file, resting between its parts; None if it is gone or changes meanwhile.

    ``tensors``: hash what is behind a safetensors header too.
    """
    before = _identity(path)
    if before is None:
        return None
    try:
        whole, behind = _digests(path, tensors=tensors and path.suffix == _SAFETENSORS)
    except OSError as error:
        log.warning("%s cannot be hashed: %s", path.name, error)
        return None
    if _identity(path) != before:
        return None
    size, mtime_ns, inode = before
    return FileHashes(size=size, mtime_ns=mtime_ns, inode=inode, sha256=whole, tensors=behind)


def _digests(path: Path, *, tensors: bool) -> tuple[str, str]:
    """SHA-256 of the file, and of what is behind its safetensors header ("" if not wanted)."""
    whole, behind, place = hashlib.sha256(), hashlib.sha256(), 0
    with path.open("rb") as file:
        begin = _tensors_begin(file.read(8)) if tensors else None
        file.seek(0)
        while True:
            started = time.perf_counter()
            if not (chunk := file.read(_CHUNK_BYTES)):
                break
            whole.update(chunk)
            if begin is not None and place + len(chunk) > begin:
                behind.update(memoryview(chunk)[max(0, begin - place) :])
            place += len(chunk)
            time.sleep(time.perf_counter() - started)  # leave the processor to pictures
    return whole.hexdigest(), "" if begin is None else behind.hexdigest()


def _tensors_begin(start: bytes) -> int | None:
    if len(start) < 8:
        return None
    (length,) = struct.unpack("<Q", start)
    return 8 + length if length <= _MAX_HEADER_BYTES else None


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return (facts.st_size, facts.st_mtime_ns, facts.st_ino) if path.is_file() else None
