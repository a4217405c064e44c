"""Writing to clients that may have stopped reading, without being held up by them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

from aiohttp import web

from bus.subscription import Subscription


async def unless_closed(subscription: Subscription, writing: Awaitable[None]) -> None:
    """Await ``writing`` while the subscription is open, so that a stuck client holds nothing."""
    written = asyncio.ensure_future(writing)
    closed = asyncio.ensure_future(subscription.wait_closed())
    try:
        await asyncio.wait((written, closed), return_when=asyncio.FIRST_COMPLETED)
        if written.done():
            written.result()
    finally:
        written.cancel()
        closed.cancel()


@asynccontextmanager
async def cut_off_after(request: web.Request, seconds: float) -> AsyncIterator[None]:
    """Give the block ``seconds`` to write; then drop the connection, with what is unsent."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
