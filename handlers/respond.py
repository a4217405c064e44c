"""From structs to responses, and from server paths to whole URLs."""

from collections.abc import Mapping
from typing import Final

import msgspec
from aiohttp import web

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
