"""GET /v1/events: the event bus as server-sent events, and what ``/ws`` shares with it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import suppress
from typing import Final

from aiohttp import web

from bus.events import EVENT_TYPES
from bus.subscription import Delivery, EventFilter, Subscription
from handlers.http.errors import FieldError, RequestRefused
from handlers.keys import BUS
from pipeline.errors import InvalidParameter

KEEP_ALIVE_S: Final = 15.0
CLOSE_GRACE_S: Final = 2.0  # for a slow reader to take its farewell
MAILBOX_LIMIT: Final = 256
BATCH: Final = 64  # deliveries written at once, so that one reader's backlog blocks nobody
MAX_SEQ: Final = 2**63 - 1
PING: Final = b": ping\n\n"
OVERFLOW: Final = b"event: bus.overflow\ndata: {}\n\n"
TYPE_NAMES: Final = frozenset(kind.type for kind in EVENT_TYPES)
HEADERS: Final = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # a proxy that collects events would hold them back
}


async def events(request: web.Request) -> web.StreamResponse:
    """Stream events until the client leaves, falls too far behind or the server stops."""
    wanted, since = read_filter(request), read_since(request)
    response = web.StreamResponse(headers=HEADERS)
    subscribed = request.app[BUS].subscribe(wanted, MAILBOX_LIMIT, since)
    with subscribed as news, suppress(ConnectionError):
        hello = _hello(request, since)
        await response.prepare(request)
        await response.write(hello)
        async for chunk in _chunks(news):
            await unless_closed(news, response.write(chunk))
        await _say_goodbye(request, response, news)
    return response


def read_filter(request: web.Request) -> EventFilter:
    """``types=`` (with commas) and ``task_id=``. Raises 422 for a type that does not exist."""
    names = [name.strip() for name in request.query.get("types", "").split(",")]
    types = frozenset(filter(None, names))
    if unknown := unknown_types(types):
        raise invalid_query("types", unknown)
    return EventFilter(types=types or None, task_id=request.query.get("task_id") or None)


def invalid_query(name: str, message: str) -> RequestRefused:
    """422 for a query parameter, to be raised."""
    fault = FieldError(loc=("query", name), msg=message, type="value_error")
    return RequestRefused(422, InvalidParameter.code, [fault])


def unknown_types(types: Iterable[str]) -> str:
    """What to say of the types that do not exist; "" if all do."""
    unknown = sorted(set(types) - TYPE_NAMES)
    if not unknown:
        return ""
    return f"unknown: {', '.join(unknown)[:200]}; there are: {', '.join(sorted(TYPE_NAMES))}"


def read_since(request: web.Request) -> int | None:
    """The last event that the client has seen, None to begin now.

    A reconnecting EventSource sends the header, which is newer than the query of its URL.
    Browsers resend whatever they were given, so a header that is no number counts as none.
    """
    header = _parse_seq(request.headers.get("Last-Event-ID", ""))
    if header is not None:
        return header
    text = request.query.get("since")
    if not text:
        return None
    since = _parse_seq(text)
    if since is None:
        raise invalid_query("since", "must be the seq of an event, a whole number from 0")
    return since


async def unless_closed(news: Subscription, writing: Awaitable[None]) -> None:
    """Await ``writing``, but no longer than the mailbox is open: a stuck reader must be freed."""
    written = asyncio.ensure_future(writing)
    closed = asyncio.ensure_future(news.wait_closed())
    try:
        await asyncio.wait((written, closed), return_when=asyncio.FIRST_COMPLETED)
        if written.done():
            written.result()
    finally:
        written.cancel()
        closed.cancel()


def _parse_seq(text: str) -> int | None:
    if not text.isascii() or not text.isdecimal() or len(text) > len(str(MAX_SEQ)):
        return None
    return min(int(text), MAX_SEQ)


def _hello(request: web.Request, since: int | None) -> bytes:
    """Send the head at once, and a newcomer's place, from which it may reconnect."""
    if since is not None:
        return b"retry: 1000\n\n"
    return b"retry: 1000\nid: %d\n\n" % request.app[BUS].last_seq


async def _chunks(news: Subscription) -> AsyncIterator[bytes]:
    """What to write: events as they come, a comment for each stretch without any."""
    while True:
        try:
            async with asyncio.timeout(KEEP_ALIVE_S):
                batch = await news.take(BATCH)
        except TimeoutError:
            yield PING
            continue
        if not batch:
            return
        yield b"".join([delivery.encoded(_sse_frame) for delivery in batch])


def _sse_frame(delivery: Delivery) -> bytes:
    head = f"event: {delivery.type}\nid: {delivery.seq}\ndata: "
    return b"".join((head.encode(), delivery.json, b"\n\n"))


async def _say_goodbye(
    request: web.Request, response: web.StreamResponse, news: Subscription
) -> None:
    """End the stream; a client that does not even read this is cut off."""
    try:
        async with asyncio.timeout(CLOSE_GRACE_S):
            if news.overflowed:
                await response.write(OVERFLOW)
            await response.write_eof()
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
