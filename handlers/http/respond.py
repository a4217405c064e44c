"""From structs and files to replies, and where this server's own URLs begin."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import ETag, web

from handlers.http.access import KEY_NAME
from handlers.http.operation import operation_of
from handlers.keys import SETTINGS
from pipeline.request.delivery import Delivery
from storage.stored_params import as_json

_DELIVERY: Final = Delivery()
_encoder: Final = msgspec.json.Encoder(enc_hook=as_json)


def json_bytes(body: object) -> bytes:
    """A struct, or anything else that msgspec can encode, as JSON."""
    return _encoder.encode(body)


def json_response(
    body: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A reply whose body is ``body`` as JSON: a struct, or anything that msgspec can encode."""
    return web.Response(
        body=json_bytes(body),
        status=status,
        headers=headers,
        content_type="application/json",
    )


def base_url(request: web.Request) -> str:
    """Where this server's own URLs begin, without the last slash.

    The configured one, else the request's scheme and Host. Forwarded headers do not count: any
    client can send them.
    """
    return request.app[SETTINGS].base_url or f"{request.scheme}://{request.host}"


def own_urls(request: web.Request) -> tuple[str, ...]:
    """Prefixes of this server's URLs as a client may write them in a request."""
    return base_url(request), f"{request.scheme}://{request.host}"


def delivery_to(request: web.Request, asked: Delivery = _DELIVERY) -> Delivery:
    """A delivery with what the server adds to it, family and key of the request included."""
    operation = operation_of(request.match_info.handler)
    return msgspec.structs.replace(
        asked,
        family="" if operation is None else operation.family,
        key=request.get(KEY_NAME, ""),
        default_webhook=request.app[SETTINGS].default_webhook,
        base_url=base_url(request),
    )


async def derived_response(
    request: web.Request,
    path: Path,
    variant: str,
    make: Callable[[bytes], Awaitable[bytes]],
    headers: Mapping[str, str],
) -> web.Response:
    """``make`` applied to a file's bytes; 304 where the client has the result.

    ``variant`` distinguishes its ETag from those of the file's other forms.
    """
    stat = await asyncio.to_thread(path.stat)
    tag = ETag(f"{stat.st_mtime_ns:x}-{stat.st_size:x}-{variant}")
    if any(known.value in (tag.value, "*") for known in request.if_none_match or ()):
        response = web.Response(status=304, headers=headers)
    else:
        body = await make(await asyncio.to_thread(path.read_bytes))
        response = web.Response(body=body, headers=headers)
    response.etag = tag
    response.last_modified = stat.st_mtime
    return response
