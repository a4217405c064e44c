"""What both clients do alike before and after a request goes over the wire."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import httpx
import msgspec

from focal_client.calls import Call
from focal_client.errors import ConnectionFailed
from focal_client.structs import TaskRecord

DEFAULT_URL: Final = "http://127.0.0.1:7866"
PAUSES_S: Final = (0.2, 1.0)  # before a call that may be repeated is
LAST_PORT: Final = 65535
PATIENCE_S: Final = 60.0  # with a server that is being restarted
POLL_S: Final = 20.0  # that the server holds a question for a task's end
SILENCE_S: Final = 45.0  # of a stream, after which it is dead: the server says something every 15 s
_ENDED: Final = frozenset({"finished", "stop", "skip", "failed"})


def headers_of(key: str | None) -> dict[bytes, bytes]:
    """The headers of every request. A key may have any letters, and a line's end behind it."""
    return {b"X-API-KEY": key.strip().encode()} if key else {}


@contextmanager
def opening(base_url: str) -> Iterator[None]:
    """What httpx cannot open is a ConnectionFailed: a wrong URL, of the server or of a proxy in
    the environment, or a kind of proxy that wants another package."""
    try:
        if (httpx.URL(base_url).port or 0) > LAST_PORT:  # a socket would raise OverflowError
            raise ValueError(f"no port is above {LAST_PORT}")
        yield
    except (httpx.InvalidURL, ValueError, ImportError) as error:
        raise ConnectionFailed(f"{base_url}: {error}") from error


def request_of(call: Call[Any], timeout: float) -> Mapping[str, Any]:
    """A call as the arguments of httpx's ``request``."""
    return {
        "method": call.method,
        "url": call.path,
        "params": call.query,
        "headers": call.headers,
        "content": call.content,
        "timeout": httpx.Timeout(timeout, read=timeout + call.wait_s),
    }


def encoded(body: Mapping[str, Any]) -> bytes:
    """A request's body."""
    return msgspec.json.encode(body)


def has_ended(record: TaskRecord) -> bool:
    """Does the task neither wait nor run?"""
    return record.task_status in _ENDED
