"""GET /v1/events: the event bus as server-sent events."""

from contextlib import suppress
from typing import Final

from aiohttp import web

from bus.subscription import Event, Subscription
from handlers.http.operation import Operation, Payload
from handlers.http.slow_clients import cut_off_after, unless_closed
from handlers.http.sse import batches, sse_response
from handlers.keys import BUS
from handlers.live.filters import EventsQuery, filter_of, since_of

CLOSE_GRACE_S: Final = 2.0  # for a slow client to read the end of the stream
MAILBOX_LIMIT: Final = 256
PING: Final = b": ping\n"  # no empty line: clients make an event of one, though it has no data
OVERFLOW: Final = b"event: bus.overflow\ndata: {}\n\n"


@Operation(
    name="events",
    tag="events",
    summary="Everything that happens, as server-sent events",
    headers={"Last-Event-ID": "As since; a browser sends it when it reconnects."},
    reply=Payload(media_types=("text/event-stream",)),
    errors=(401, 403, 422),
    takes_token=True,
    is_stream=True,
)
async def events(request: web.Request, query: EventsQuery) -> web.StreamResponse:
    """Stream events until the client leaves, falls too far behind or the server stops."""
    wanted, since = filter_of(query), since_of(request, query)
    response = sse_response()
    subscribed = request.app[BUS].subscribe(wanted, MAILBOX_LIMIT, since)
    with subscribed as subscription, suppress(ConnectionError):
        hello = _hello(request, since)
        await response.prepare(request)
        await response.write(hello)
        async for batch in batches(subscription):
            chunk = b"".join([event.encoded(_sse_frame) for event in batch]) or PING
            await unless_closed(subscription, response.write(chunk))
        await _say_goodbye(request, response, subscription)
    return response


def _hello(request: web.Request, since: int | None) -> bytes:
    """The first bytes, which are no event; a new client finds in them where it begins."""
    if since is not None:
        return b"retry: 1000\n"
    return b"retry: 1000\n: since %d\n" % request.app[BUS].last_seq


def _sse_frame(event: Event) -> bytes:
    head = f"event: {event.type}\nid: {event.seq}\ndata: "
    return b"".join((head.encode(), event.json, b"\n\n"))


async def _say_goodbye(
    request: web.Request, response: web.StreamResponse, subscription: Subscription
) -> None:
    """End the stream; a client that does not read even this is cut off."""
    async with cut_off_after(request, CLOSE_GRACE_S):
        if subscription.overflowed:
            await response.write(OVERFLOW)
        await response.write_eof()
