"""How a request body is read: bounded in size and in time."""

import asyncio

from aiohttp import web

from handlers.http.errors import BODY_BYTES, RequestRefused
from handlers.keys import SETTINGS


async def read_body(request: web.Request, limit_bytes: int | None = None) -> bytes:
    """The whole body. Raises RequestRefused: 413 too large, 408 too slow, 400 cut short.

    The limit counts what comes out of a compressed body, so a small bomb does not pass.
    """
    settings = request.app[SETTINGS]
    limit = settings.body_limit_bytes if limit_bytes is None else limit_bytes
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(settings.body_seconds):
            body = await _collect(request, limit)
    except TimeoutError:
        raise RequestRefused(
            408, "body_too_slow", f"the body did not arrive within {settings.body_seconds:g} s"
        ) from None
    except (web.RequestPayloadError, ConnectionError):
        raise RequestRefused(400, "body_incomplete", "the body is damaged or cut short") from None
    request[BODY_BYTES] = len(body)
    return body


async def _collect(request: web.Request, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > limit:
            raise _too_large(limit)
    return bytes(body)


def _too_large(limit: int) -> RequestRefused:
    size = f"{limit / 2**20:g} MiB" if limit >= 2**20 else f"{limit} bytes"
    return RequestRefused(413, "body_too_large", f"the body may have at most {size}")
