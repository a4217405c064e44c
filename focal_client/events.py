"""Server-sent events, decoded from bytes as they arrive: no HTTP here.

Own code, since httpx-sse drops comments, and the server says in one where a stream begins.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from focal_client.errors import UNREADABLE, ConnectionFailed, UnexpectedReply

OVERFLOW: Final = "bus.overflow"  # the stream ends, for its reader was too slow; it can be replayed
_LINE_END: Final = re.compile(rb"\r?\n")
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0
_BEGINS: Final = re.compile(rb": since (\d+)")


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened. ``seq`` grows by one an event, ``ts`` is Unix time in ms.

    ``data`` differs by ``type``; docs/events.md of the server lists both.
    """

    seq: int
    ts: int
    type: str
    task_id: str | None
    data: dict[str, Any] = {}


@dataclass
class EventReader:
    """Splits a stream into the data of its events and remembers where to go on.

    ``last_seq`` is the newest event's number, or where the stream began; None is not known yet.
    """

    last_seq: int | None = None
    _rest: bytes = b""
    _name: str = ""
    _data: list[bytes] = field(default_factory=list)

    def restart(self) -> None:
        """Another connection: what the last one left half sent does not count."""
        self._rest, self._name, self._data = b"", "", []

    def feed(self, chunk: bytes) -> Iterator[tuple[str, bytes]]:
        """Name and data of each event that ``chunk`` completes."""
        *lines, self._rest = _LINE_END.split(self._rest + chunk)
        for line in lines:
            if line:
                self._take(line)
            elif self._data:
                yield self._name, b"\n".join(self._data)
                self._name, self._data = "", []

    def _take(self, line: bytes) -> None:
        if line.startswith(b":"):
            begins = _BEGINS.fullmatch(line)
            if begins and self.last_seq is None:
                self.last_seq = int(begins[1])
            return
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"event":
                self._name = value.decode("utf-8", "replace")
            case b"data":
                self._data.append(value)
            case b"id" if value.isdigit():
                self.last_seq = int(value)


def event_query(types: Iterable[str], task_id: str | None) -> dict[str, str]:
    """The query of ``/v1/events`` for these types (all, if none are named) and this task (any)."""
    named = {"types": ",".join(types), "task_id": task_id or ""}
    return {name: value for name, value in named.items() if value}


def resume_headers(last_seq: int | None) -> Mapping[str, str]:
    """The header that asks for what came after an event."""
    return {} if last_seq is None else {"Last-Event-ID": str(last_seq)}


def decode_event(data: bytes) -> Event:
    """The event in a block of ``/v1/events``. Raises UnexpectedReply."""
    try:
        return msgspec.json.decode(data, type=Event)
    except UNREADABLE as error:
        raise UnexpectedReply(f"this is no event: {error}") from error


class Backoff:
    """Pauses between attempts to connect: longer each time, for ``patience_s`` in all."""

    def __init__(self, patience_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience_s = patience_s
        self._clock = clock
        self._lost_at: float | None = None
        self._tries = 0

    def connected(self) -> None:
        """There is an answer: the next pause is short again."""
        self._lost_at, self._tries = None, 0

    def pause_s(self, reason: object) -> float:
        """How long to wait before the next attempt. Raises ConnectionFailed at the end of patience.

        A server that ends a stream is back within a second or two if it restarts.
        """
        now = self._clock()
        self._lost_at = now if self._lost_at is None else self._lost_at
        if now - self._lost_at >= self._patience_s:
            raise ConnectionFailed(str(reason) or "the server does not answer")
        self._tries += 1
        return min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** (self._tries - 1))


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """An event of a generate request's own stream, as the server writes it."""

    progress: int
    message: str
    preview: str | None = None
    images: list[str] = []
    error: str | None = None

    @property
    def is_last(self) -> bool:
        """Has the task ended?"""
        return self.message == "Finished" or self.error is not None


def decode_step(data: bytes) -> Step:
    """The event in a block of a generate request's stream. Raises UnexpectedReply."""
    try:
        return msgspec.json.decode(data, type=Step)
    except UNREADABLE as error:
        raise UnexpectedReply(f"this is no event: {error}") from error
