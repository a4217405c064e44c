"""The API keys of a server: their names, hashes and limits, and how often each may ask."""

import hashlib
import hmac
import math
import re
import time
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from pipeline.scheduling.key_limits import KeyLimits

DEFAULT_NAME: Final = "default"
MINUTE_S: Final = 60.0
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


class KeyFileError(Exception):
    """A key file cannot be used; the message says where and why, and shows no hash."""


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the key file. The limits are 0 for none."""

    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    waiting: Annotated[int, Meta(ge=0)] = 0
    running: Annotated[int, Meta(ge=0)] = 0
    requests_per_minute: Annotated[int, Meta(ge=0)] = 0


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A named key. ``digest`` is the SHA-256 of it; keys are random, so a slow hash gains nothing.

    ``requests_per_minute`` is 0 for no limit.
    """

    name: str
    digest: bytes
    limits: KeyLimits = KeyLimits()
    requests_per_minute: int = 0


class KeyRing:
    """Finds keys and counts their requests. Event loop only; ``clock`` gives seconds."""

    def __init__(
        self, keys: Iterable[ApiKey] = (), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._keys = {key.name: key for key in keys}
        self._clock = clock
        self._allowance: dict[str, tuple[float, float]] = {}  # requests left, as of when

    def __bool__(self) -> bool:
        return bool(self._keys)

    def find(self, offered: str) -> ApiKey | None:
        """The key with this value. Every key is compared, each in constant time."""
        digest = hashlib.sha256(offered.encode("utf-8", "surrogateescape")).digest()
        found = None
        for key in self._keys.values():
            if hmac.compare_digest(digest, key.digest):
                found = key
        return found

    def limits(self) -> dict[str, KeyLimits]:
        """The limits of each key's tasks, by name."""
        return {key.name: key.limits for key in self._keys.values()}

    def wait_s(self, name: str) -> int:
        """Count a request of a key; 0 if it may go on, else whole seconds to wait.

        A minute's requests may come at once; they come back evenly.
        """
        key = self._keys.get(name)
        if key is None or not key.requests_per_minute:
            return 0
        limit, now = key.requests_per_minute, self._clock()
        left, since = self._allowance.get(name, (float(limit), now))
        left = min(limit, left + (now - since) * limit / MINUTE_S)
        if left < 1:
            self._allowance[name] = (left, now)
            return math.ceil((1 - left) * MINUTE_S / limit)
        self._allowance[name] = (left - 1, now)
        return 0


def digest_of(key: str) -> bytes:
    """What is kept of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def load_keys(api_key: str, file: str) -> list[ApiKey]:
    """The key of the start option, named ``default``, and those of a file. Raises KeyFileError."""
    keys = [ApiKey(name=DEFAULT_NAME, digest=digest_of(api_key))] if api_key else []
    if file:
        keys += _read(Path(file))
    names = [key.name for key in keys]
    if len(set(names)) != len(names):
        raise KeyFileError(f"{file}: {DEFAULT_NAME} is the name of the key of --api-key")
    return keys


def _read(path: Path) -> list[ApiKey]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise KeyFileError(f"the key file {path} cannot be read: {error}") from error
    if not tables:
        raise KeyFileError(f"the key file {path} has no key; see docs/configuration.md")
    return [_key(path, name, table) for name, table in tables.items()]


def _key(path: Path, name: str, table: object) -> ApiKey:
    if not _NAME.fullmatch(name):
        raise KeyFileError(f"{path}: {name!r} is no name; use letters, digits, - and _")
    try:
        entry = msgspec.convert(table, _Entry)
    except msgspec.ValidationError as error:
        raise KeyFileError(f"{path}: key {name}: {error}") from error
    return ApiKey(
        name=name,
        digest=bytes.fromhex(entry.sha256),
        limits=KeyLimits(waiting=entry.waiting, running=entry.running),
        requests_per_minute=entry.requests_per_minute,
    )
