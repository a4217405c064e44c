"""From structs and files to responses, and from server paths to whole URLs."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import ETag, web

from handlers.keys import SETTINGS

_encoder: Final = msgspec.json.Encoder()


def json_response(
    body: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Encode a struct, or anything msgspec can, as the reply."""
    return web.Response(
        body=_encoder.encode(body),
        status=status,
        headers=headers,
        content_type="application/json",
    )


def base_url(request: web.Request) -> str:
    """Where this server's own URLs begin, without the last slash.

    The configured one, else the request's scheme and Host. Forwarded headers are never
    believed: anyone can send them.
    """
    return request.app[SETTINGS].base_url or f"{request.scheme}://{request.host}"


def absolute_url(request: web.Request, path: str) -> str:
    """Make a server path such as ``/outputs/…`` a whole URL; one that is whole already stays."""
    return f"{base_url(request)}{path}" if path.startswith("/") else path


async def derived_response(
    request: web.Request,
    path: Path,
    variant: str,
    make: Callable[[bytes], bytes],
    headers: Mapping[str, str],
) -> web.Response:
    """What ``make`` makes of a file's bytes; 304 where the client has it already.

    ``variant`` tells its tag from those of the file's other forms. ``make`` runs in a thread.
    """
    stat = await asyncio.to_thread(path.stat)
    tag = ETag(f"{stat.st_mtime_ns:x}-{stat.st_size:x}-{variant}")
    if any(known.value in (tag.value, "*") for known in request.if_none_match or ()):
        response = web.Response(status=304, headers=headers)
    else:
        body = await asyncio.to_thread(lambda: make(path.read_bytes()))
        response = web.Response(body=body, headers=headers)
    response.etag = tag
    response.last_modified = stat.st_mtime
    return response
