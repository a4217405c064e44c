"""The web pages and their files."""

import asyncio
import gzip
from contextlib import suppress
from pathlib import Path
from typing import Final

from aiohttp import hdrs, web

from handlers.http.negotiation import prefers_encoding
from handlers.http.operation import Operation, Payload
from handlers.http.ranges import FILE_ERRORS, StoredFile
from handlers.http.refusal import RequestRefused
from handlers.http.respond import derived_response
from handlers.keys import SETTINGS

# Fixed here: the operating system's mapping of suffixes differs from machine to machine.
CONTENT_TYPES: Final = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webp": "image/webp",
    ".jpg": "image/jpeg",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".txt": "text/plain",
}
_COMPRESSIBLE: Final = frozenset({".html", ".css", ".js", ".json", ".svg", ".txt"})
# Browsers revalidate each time, mostly answered 304, so a new version shows at once.
_REVALIDATE: Final = "no-cache"


@Operation(
    name="index",
    tag="server",
    summary="Goes on to the web page",
    status=302,
    errors=(),
    is_open=True,
    is_linked=True,
)
async def index(_request: web.Request) -> web.Response:
    """Redirect to the page. Relative, so that it works behind a proxy's prefix."""
    return web.Response(status=302, headers={hdrs.LOCATION: "static/index.html"})


@Operation(
    name="docs",
    tag="server",
    summary="This document as a page to read and try",
    reply=Payload(media_types=("text/html",)),
    errors=FILE_ERRORS,
    is_open=True,
    is_linked=True,
)
async def docs(request: web.Request) -> web.StreamResponse:
    """The interactive API docs."""
    return await _serve(request, request.app[SETTINGS].static_dir / "docs.html")


@Operation(
    name="static_file",
    tag="server",
    summary="The web page's files",
    reply=Payload(media_types=("text/html", "text/css", "text/javascript")),
    errors=FILE_ERRORS,
    is_open=True,
    is_linked=True,
)
async def static_file(request: web.Request) -> web.StreamResponse:
    """One of the pages' files."""
    root = request.app[SETTINGS].static_dir
    path = await asyncio.to_thread(_find, root, request.match_info["path"])
    if path is None:
        raise RequestRefused(404, "not_found", "there is no such file")
    return await _serve(request, path)


def _find(root: Path, name: str) -> Path | None:
    """The file called ``name`` below ``root``; None for links that lead outside."""
    if "\0" in name or "\\" in name:
        return None
    path = (root / name).resolve()
    is_inside = path.is_relative_to(root.resolve())
    with suppress(OSError):  # a name longer than a file's may be
        return path if is_inside and path.suffix in CONTENT_TYPES and path.is_file() else None
    return None


async def _serve(request: web.Request, path: Path) -> web.StreamResponse:
    headers: dict[str, str] = {
        hdrs.CACHE_CONTROL: _REVALIDATE,
        hdrs.CONTENT_TYPE: _content_type(path),
        hdrs.VARY: hdrs.ACCEPT_ENCODING,
    }
    # FileResponse's own compression breaks HEAD and 304: it sends a body with them.
    if path.suffix not in _COMPRESSIBLE or not _takes_gzip(request):
        return StoredFile(path, headers=headers)
    headers[hdrs.CONTENT_ENCODING] = "gzip"
    return await derived_response(request, path, "gzip", _compressed, headers)


async def _compressed(data: bytes) -> bytes:
    return await asyncio.to_thread(gzip.compress, data)


def _takes_gzip(request: web.Request) -> bool:
    """Ranges are of the stored file, so a reply to one is not compressed."""
    header = ",".join(request.headers.getall(hdrs.ACCEPT_ENCODING, []))
    return hdrs.RANGE not in request.headers and prefers_encoding(header, "gzip")


def _content_type(path: Path) -> str:
    kind = CONTENT_TYPES[path.suffix]
    is_text = path.suffix in _COMPRESSIBLE and path.suffix != ".svg"
    return f"{kind}; charset=utf-8" if is_text else kind
