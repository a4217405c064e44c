"""Stored pictures: served as they are, or converted to the format that the client prefers."""

import asyncio
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Final

from aiohttp import hdrs, web
from msgspec import Meta

from handlers.http.files import Find, file_response
from handlers.http.negotiation import FormatQuery, converted_format
from handlers.http.operation import IMAGE_TYPES, Operation, Payload
from handlers.http.ranges import FILE_ERRORS, StoredFile
from handlers.http.respond import derived_response
from handlers.keys import INPUTS, OUTPUTS
from handlers.service.decoding import COPIES
from handlers.service.errors import NotFound
from handlers.service_keys import DECODING
from pipeline.images.encode import MIME_TYPES, convert
from pipeline.images.metadata_strip import without_metadata
from pipeline.images.read import READABLE_MIME_TYPES, ImageTooLarge, UnreadableImage
from pipeline.request.choices import OutputFormat
from storage.thumbnails import find_thumbnail, keep_thumbnail, read_picture

# File names are never reused, so the file behind a name never changes. Pictures are private.
_CACHE: Final = "private, max-age=31536000, immutable"
_VARY: Final = "Accept, Sec-Fetch-Dest"
_CONVERTS: Final = {"Accept": "Another image type converts the picture on its way out."}


class OutputQuery(FormatQuery, kw_only=True):
    """The query of a finished picture."""

    metadata: Annotated[
        bool, Meta(description="0: the file without its parameters, as stored else.")
    ] = True


@Operation(
    name="output_file",
    tag="pictures",
    summary="A finished picture; Accept converts it",
    headers=_CONVERTS,
    reply=Payload(media_types=IMAGE_TYPES),
    errors=(401, 403, *FILE_ERRORS, 422),
    takes_token=True,
    is_linked=True,
)
async def output_file(request: web.Request, query: OutputQuery) -> web.StreamResponse:
    """A picture that a task made."""
    date, file = request.match_info["date"], request.match_info["file"]
    find = partial(request.app[OUTPUTS].resolve, date, file)
    if not query.metadata:
        path = await _found(find)
        headers = _headers(READABLE_MIME_TYPES[_suffix(path)])
        return await derived_response(request, path, "bare", _without_metadata, headers)
    return await _serve(request, file, find, query.image_format)


@Operation(
    name="thumbnail_file",
    tag="pictures",
    summary="A finished picture as a WebP of at most 384x384, made once and kept",
    reply=Payload(media_types=("image/webp",)),
    errors=(401, 403, *FILE_ERRORS),
    takes_token=True,
    is_linked=True,
)
async def thumbnail_file(request: web.Request) -> web.StreamResponse:
    """A small WebP of a picture that a task made; made at the first request and kept."""
    date, file = request.match_info["date"], request.match_info["file"]
    find = partial(find_thumbnail, request.app[OUTPUTS], date, file)
    headers = {hdrs.CACHE_CONTROL: _CACHE, hdrs.CONTENT_TYPE: MIME_TYPES["webp"]}
    kept = await file_response(request, find, headers)
    if kept is not None:
        return kept
    path = await _make_thumbnail(request, date, file)
    if path is None:
        raise _no_picture()
    return StoredFile(path, headers=headers)


@Operation(
    name="input_file",
    tag="pictures",
    summary="A picture that was sent with a request; Accept converts it",
    headers=_CONVERTS,
    reply=Payload(media_types=IMAGE_TYPES),
    errors=(401, 403, *FILE_ERRORS, 422),
    takes_token=True,
    is_linked=True,
)
async def input_file(request: web.Request, query: FormatQuery) -> web.StreamResponse:
    """A picture that a request carried."""
    file = request.match_info["file"]
    find = partial(request.app[INPUTS].resolve, file)
    return await _serve(request, file, find, query.image_format)


async def _serve(
    request: web.Request, file: str, find: Find, asked: OutputFormat | None
) -> web.StreamResponse:
    """The picture of that name as it is, or in the format that was asked for."""
    stored = READABLE_MIME_TYPES.get(_suffix(Path(file)))
    if stored is None:
        raise _no_picture()
    wanted = asked or _other_format(request, stored)
    if wanted is not None and MIME_TYPES[wanted] == stored:
        wanted = None
    if wanted is None:
        response = await file_response(request, find, _headers(stored))
        if response is None:
            raise _no_picture()
        return response

    async def make(data: bytes) -> bytes:
        converted = partial(convert, data, wanted)
        return await request.app[DECODING].run(converted, data, copies=COPIES, shown=True)

    path, headers = await _found(find), _headers(MIME_TYPES[wanted])
    return await derived_response(request, path, wanted, make, headers)


async def _found(find: Find) -> Path:
    path = await asyncio.to_thread(find)
    if path is None:
        raise _no_picture()
    return path


def _no_picture() -> NotFound:
    return NotFound("there is no such picture")


async def _make_thumbnail(request: web.Request, date: str, file: str) -> Path | None:
    """None without such a picture, or for a broken one."""
    outputs = request.app[OUTPUTS]
    picture = await asyncio.to_thread(read_picture, outputs, date, file)
    if picture is None:
        return None
    make = partial(keep_thumbnail, outputs, date, file, picture)
    with suppress(UnreadableImage, ImageTooLarge):
        return await request.app[DECODING].run(make, picture, copies=COPIES, shown=True)
    return None


async def _without_metadata(data: bytes) -> bytes:
    return await asyncio.to_thread(without_metadata, data)


def _suffix(path: Path) -> str:
    return path.suffix.removeprefix(".").lower()


def _headers(content_type: str) -> dict[str, str]:
    return {hdrs.CACHE_CONTROL: _CACHE, hdrs.VARY: _VARY, hdrs.CONTENT_TYPE: content_type}


def _other_format(request: web.Request, stored: str) -> OutputFormat | None:
    """The format to convert to, where Accept prefers another one.

    An ``<img>`` gets the stored file: its Accept lists what the browser can show, and some list
    a format first that nobody chose.
    """
    if request.headers.get("Sec-Fetch-Dest", "empty") != "empty":
        return None
    accept = ",".join(request.headers.getall(hdrs.ACCEPT, []))
    return converted_format(accept, stored)
