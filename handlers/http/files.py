"""Replies from files: small ones at once, larger ones piece by piece, parts of either.

``web.FileResponse`` opens, reads and closes each file on threads, one call apiece. The pictures of
a page are many and small, so looking one up and reading it is one call here.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import ETag, hdrs, web
from aiohttp.typedefs import LooseHeaders

from handlers.http.ranges import StoredFile

SMALL_BYTES: Final = 2**18  # held in memory for a slow client: as much as aiohttp reads ahead
# Of a request for less than the whole file, or for none of it if the client has it.
_CONDITIONS: Final = (
    hdrs.RANGE,
    hdrs.IF_NONE_MATCH,
    hdrs.IF_MODIFIED_SINCE,
    hdrs.IF_MATCH,
    hdrs.IF_UNMODIFIED_SINCE,
)

Find = Callable[[], Path | None]
"""Looks a file up; blocks. None if there is none."""


class _Whole(msgspec.Struct, frozen=True):
    """A small file's bytes, and what tells its versions apart."""

    data: bytes
    mtime_ns: int


async def file_response(
    request: web.Request, find: Find, headers: LooseHeaders
) -> web.StreamResponse | None:
    """The file that ``find`` finds, or the part that is asked for; None if there is none.

    ``headers`` name its media type.
    """
    if not _is_for_all(request):
        path = await asyncio.to_thread(find)
        return None if path is None else StoredFile(path, headers=headers)
    found = await asyncio.to_thread(_read_small, find)
    if found is None or isinstance(found, Path):
        return None if found is None else StoredFile(found, headers=headers)
    response = web.Response(body=found.data, headers=headers)
    response.headers[hdrs.ACCEPT_RANGES] = "bytes"
    response.etag = ETag(f"{found.mtime_ns:x}-{len(found.data):x}")  # as aiohttp makes it
    response.last_modified = found.mtime_ns / 1e9
    return response


def _is_for_all(request: web.Request) -> bool:
    headers = request.headers
    return request.method == hdrs.METH_GET and not any(name in headers for name in _CONDITIONS)


def _read_small(find: Find) -> _Whole | Path | None:
    """The file with its bytes if they are few, else its path."""
    path = find()
    if path is None:
        return None
    try:
        with path.open("rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            if status.st_size > SMALL_BYTES:
                return path
            data = file.read(SMALL_BYTES)
            return _Whole(data, status.st_mtime_ns) if len(data) == status.st_size else path
    except OSError:  # gone meanwhile, or to be answered as aiohttp does
        return path
