"""Server-sent events: the reply's headers, and a subscription read with keep-alives."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Final

from aiohttp import web

from bus.subscription import Event, Subscription

KEEP_ALIVE_S: Final = 15.0
BATCH: Final = 64  # events written at once, so that one reader's backlog delays no other
_HEADERS: Final = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would collect the stream
}


def sse_response(headers: Mapping[str, str] | None = None) -> web.StreamResponse:
    """The reply of a stream, to be prepared and written to."""
    return web.StreamResponse(headers={**_HEADERS, **(headers or {})})


async def batches(subscription: Subscription, limit: int = BATCH) -> AsyncIterator[list[Event]]:
    """Events as they arrive, up to ``limit`` at a time, until the subscription ends.

    An empty list stands for ``KEEP_ALIVE_S`` without any: time for a comment, since proxies and
    clients drop connections that are silent.
    """
    while True:
        try:
            async with asyncio.timeout(KEEP_ALIVE_S):
                batch = await subscription.take(limit)
        except TimeoutError:
            yield []
            continue
        if not batch:
            return
        yield batch
