"""Stored pictures: served as they are, or converted to the format that the client likes best."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Final

from aiohttp import hdrs, web

from handlers.http.errors import RequestRefused
from handlers.http.negotiation import FORMATS
from handlers.http.query import switch
from handlers.http.respond import derived_response
from handlers.keys import INPUTS, OUTPUTS
from pipeline.images.encode import MIME_TYPES, READABLE_MIME_TYPES, convert
from pipeline.images.metadata_strip import without_metadata
from pipeline.request.choices import OutputFormat
from storage.thumbnails import find_thumbnail

# Names are never given out twice, so what stands under one never changes. A picture is private.
_CACHE: Final = "private, max-age=31536000, immutable"
_VARY: Final = "Accept, Sec-Fetch-Dest"


async def output_file(request: web.Request) -> web.StreamResponse:
    """A picture that a task made."""
    date, file = request.match_info["date"], request.match_info["file"]
    path = await asyncio.to_thread(request.app[OUTPUTS].resolve, date, file)
    if path is not None and not switch(request.query, "metadata", default=True):
        headers: dict[str, str] = {
            hdrs.CACHE_CONTROL: _CACHE,
            hdrs.VARY: _VARY,
            hdrs.CONTENT_TYPE: READABLE_MIME_TYPES[path.suffix.removeprefix(".").lower()],
        }
        return await derived_response(request, path, "bare", without_metadata, headers)
    return await _serve(request, path)


async def thumbnail_file(request: web.Request) -> web.StreamResponse:
    """A small WebP of a picture that a task made; made at the first request and kept."""
    date, file = request.match_info["date"], request.match_info["file"]
    path = await asyncio.to_thread(find_thumbnail, request.app[OUTPUTS], date, file)
    if path is None:
        raise RequestRefused(404, "not_found", "there is no such picture")
    headers = {hdrs.CACHE_CONTROL: _CACHE, hdrs.CONTENT_TYPE: MIME_TYPES["webp"]}
    return web.FileResponse(path, headers=headers)


async def input_file(request: web.Request) -> web.StreamResponse:
    """A picture that came with a request."""
    path = await asyncio.to_thread(request.app[INPUTS].resolve, request.match_info["file"])
    return await _serve(request, path)


async def _serve(request: web.Request, path: Path | None) -> web.StreamResponse:
    if path is None:
        raise RequestRefused(404, "not_found", "there is no such picture")
    kind = READABLE_MIME_TYPES[path.suffix.removeprefix(".").lower()]
    headers: dict[str, str] = {
        hdrs.CACHE_CONTROL: _CACHE,
        hdrs.VARY: _VARY,
        hdrs.CONTENT_TYPE: kind,
    }
    wanted = _other_format(request, kind)
    if wanted is None:
        return web.FileResponse(path, headers=headers)
    headers[hdrs.CONTENT_TYPE] = MIME_TYPES[wanted]
    return await derived_response(
        request, path, wanted, partial(convert, output_format=wanted), headers
    )


def _other_format(request: web.Request, kind: str) -> OutputFormat | None:
    """What to convert to: the first choice of Accept, where that is another format.

    An ``<img>`` gets what is stored: its Accept says what the browser can show, and some put a
    format first that nobody chose.
    """
    if request.headers.get("Sec-Fetch-Dest", "empty") != "empty":
        return None
    first = request.headers.get(hdrs.ACCEPT, "").split(",")[0].partition(";")[0].strip().lower()
    if first not in FORMATS or first == "image/*":
        return None
    wanted = FORMATS[first]
    return None if MIME_TYPES[wanted] == kind else wanted
