"""Stored files and parts of them (RFC 9110, sections 13.1.5 and 14), and why one is not sent."""

import asyncio
import math
import os
import re
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Final

from aiohttp import ETag, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.typedefs import LooseHeaders

from handlers.http.refusal import ErrorBody
from handlers.http.respond import json_bytes

# One range of bytes. Several, another unit or no number: the whole file is the answer.
_ONE_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII | re.IGNORECASE)
_DIGITS: Final = 18  # of an offset; a longer one is beyond every file
FILE_ERRORS: Final = (404, 412, 416)
"""What a file may be refused with, beside the guard's refusals. For ``Operation.errors``."""
_CONDITIONS: Final = (hdrs.IF_MATCH, hdrs.IF_UNMODIFIED_SINCE)
_REFUSALS: Final = {
    403: ErrorBody(detail="the file cannot be read", code="forbidden"),
    404: ErrorBody(detail="there is no such file any more", code="not_found"),
    412: ErrorBody(detail="the file is not the one that was meant", code="precondition_failed"),
    416: ErrorBody(
        detail="the range begins behind the end of the file", code="range_not_satisfiable"
    ),
}


class StoredFile(web.FileResponse):
    """A file or one range of it.

    aiohttp answers 416 to several ranges and knows If-Range by date only. Both are decided here,
    and a Range that is not followed is taken from the request. What aiohttp refuses once the
    handler has returned has no body there, and an ErrorBody here.
    """

    def __init__(self, path: Path, headers: LooseHeaders) -> None:
        super().__init__(path, headers=headers)
        self._file = path
        self._refusal = b""
        self._is_head = False

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        self._is_head = request.method == hdrs.METH_HEAD
        is_conditional = any(name in request.headers for name in _CONDITIONS)
        if is_conditional and not await asyncio.to_thread(self._is_meant, request):
            self.set_status(HTTPStatus.PRECONDITION_FAILED)
            return await super(web.FileResponse, self).prepare(request)  # not the file's
        if hdrs.RANGE in request.headers:
            followed = await asyncio.to_thread(self._is_followed, request)
            others = request.headers.copy()
            others.popall(hdrs.IF_RANGE, None)
            if not followed:
                others.popall(hdrs.RANGE)
            request = request.clone(headers=others)
        return await super().prepare(request)

    def set_status(self, status: int, reason: str | None = None) -> None:
        """As of any response; one that sends no file gets an ErrorBody. aiohttp calls it."""
        super().set_status(status, reason)
        refusal = _REFUSALS.get(status)
        if refusal is not None:
            self._refusal = json_bytes(refusal)
            self.content_type, self.charset = "application/json", None
            self.content_length = len(self._refusal)
            self.headers[hdrs.CACHE_CONTROL] = "no-store"

    async def write_eof(self, data: bytes = b"") -> None:
        """End the reply, with the ErrorBody if there is one."""
        await super().write_eof(data or (b"" if self._is_head else self._refusal))

    def _is_meant(self, request: web.BaseRequest) -> bool:
        """Do If-Match and If-Unmodified-Since let the file be sent?"""
        try:
            stat = self._file.stat()
        except OSError:
            return True  # what is refused then is no precondition
        if (tags := request.if_match) is not None:
            tag = _tag(stat)
            return any(each.value == "*" or each == ETag(tag) for each in tags)
        since = request.if_unmodified_since
        return since is None or stat.st_mtime <= since.timestamp()

    def _is_followed(self, request: web.BaseRequest) -> bool:
        if request.method != hdrs.METH_GET or not is_one_range(request.headers.getall(hdrs.RANGE)):
            return False
        condition = request.headers.get(hdrs.IF_RANGE)
        if condition is None:
            return True
        try:
            stat = self._file.stat()
        except OSError:
            return False
        return condition.strip() == f'"{_tag(stat)}"' or _is_date(condition, stat.st_mtime)


def is_one_range(headers: list[str]) -> bool:
    """Does a request ask for exactly one range of bytes?"""
    match = _ONE_RANGE.fullmatch(headers[0]) if len(headers) == 1 else None
    if match is None:
        return False
    first, last = match.groups()
    if max(len(first), len(last)) > _DIGITS:
        return False
    if not first:  # the last bytes of the file, one at least
        return bool(last.strip("0"))
    return not last or int(first) <= int(last)


def _tag(stat: os.stat_result) -> str:
    """A file's ETag, as aiohttp makes it."""
    return f"{stat.st_mtime_ns:x}-{stat.st_size:x}"


def _is_date(condition: str, modified: float) -> bool:
    """Is this the exact Last-Modified date, which aiohttp rounds up? A weak tag is none."""
    try:
        return parsedate_to_datetime(condition).timestamp() == math.ceil(modified)
    except (ValueError, OverflowError):
        return False
