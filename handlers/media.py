"""Stored pictures: served as they are, or converted to the format that the client likes best."""

import asyncio
from email.utils import formatdate
from pathlib import Path
from typing import Final

from aiohttp import ETag, hdrs, web

from handlers.errors import RequestRefused
from handlers.keys import INPUTS, OUTPUTS
from handlers.negotiation import FORMATS
from pipeline.choices import OutputFormat
from pipeline.images.encode import MIME_TYPES, convert

# Names are never given out twice, so what stands under one never changes. A picture is private.
_CACHE: Final = "private, max-age=31536000, immutable"
_VARY: Final = "Accept, Sec-Fetch-Dest"
_STORED_ONLY: Final = {"gif": "image/gif", "bmp": "image/bmp"}  # kept as sent, never made here


async def output_file(request: web.Request) -> web.StreamResponse:
    """A picture that a task made."""
    date, file = request.match_info["date"], request.match_info["file"]
    path = await asyncio.to_thread(request.app[OUTPUTS].resolve, date, file)
    return await _serve(request, path)


async def input_file(request: web.Request) -> web.StreamResponse:
    """A picture that came with a request."""
    path = await asyncio.to_thread(request.app[INPUTS].resolve, request.match_info["file"])
    return await _serve(request, path)


async def _serve(request: web.Request, path: Path | None) -> web.StreamResponse:
    """Only pictures are served: whatever else lies in the folder, the database too, is not there."""
    kind = _kind_of(path) if path else None
    if path is None or kind is None:
        raise RequestRefused(404, "not_found", "there is no such picture")
    wanted = _other_format(request, kind)
    if wanted is not None:
        return await _serve_converted(request, path, wanted)
    headers = {hdrs.CACHE_CONTROL: _CACHE, hdrs.CONTENT_TYPE: kind, hdrs.VARY: _VARY}
    return web.FileResponse(path, headers=headers)


async def _serve_converted(
    request: web.Request, path: Path, wanted: OutputFormat
) -> web.StreamResponse:
    """The picture in another format, its metadata kept. Its tag tells it from the stored one."""
    stat = await asyncio.to_thread(path.stat)
    tag = ETag(f"{stat.st_mtime_ns:x}-{stat.st_size:x}-{wanted}")
    headers = {
        hdrs.CACHE_CONTROL: _CACHE,
        hdrs.VARY: _VARY,
        hdrs.LAST_MODIFIED: formatdate(stat.st_mtime, usegmt=True),
    }
    if any(tag.value in (known.value, "*") for known in request.if_none_match or ()):
        response = web.Response(status=304, headers=headers)
    else:
        data = await asyncio.to_thread(lambda: convert(path.read_bytes(), wanted))
        response = web.Response(body=data, content_type=MIME_TYPES[wanted], headers=headers)
    response.etag = tag
    return response


def _kind_of(path: Path) -> str | None:
    suffix = path.suffix.removeprefix(".").lower()
    return MIME_TYPES.get(suffix) or _STORED_ONLY.get(suffix)


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
