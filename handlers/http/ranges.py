"""Parts of files (RFC 9110, sections 13.1.5 and 14): which Range headers are followed."""

import asyncio
import math
import re
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.typedefs import LooseHeaders

# One range of bytes. Several, another unit or no number: the whole file is the answer.
_ONE_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII | re.IGNORECASE)
_DIGITS: Final = 18  # of an offset; a longer one is beyond every file


class StoredFile(web.FileResponse):
    """A file or one range of it.

    aiohttp answers 416 to several ranges and knows If-Range by date only. Both are decided here,
    and a Range that is not followed is taken from the request.
    """

    def __init__(self, path: Path, headers: LooseHeaders) -> None:
        super().__init__(path, headers=headers)
        self._file = path

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        if hdrs.RANGE in request.headers:
            followed = await asyncio.to_thread(self._is_followed, request)
            others = request.headers.copy()
            others.popall(hdrs.IF_RANGE, None)
            if not followed:
                others.popall(hdrs.RANGE)
            request = request.clone(headers=others)
        return await super().prepare(request)

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
        tag = f"{stat.st_mtime_ns:x}-{stat.st_size:x}"  # as aiohttp makes it
        return condition.strip() == f'"{tag}"' or _is_date(condition, stat.st_mtime)


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


def _is_date(condition: str, modified: float) -> bool:
    """Is this the exact Last-Modified date, which aiohttp rounds up? A weak tag is none."""
    try:
        return parsedate_to_datetime(condition).timestamp() == math.ceil(modified)
    except (ValueError, OverflowError):
        return False
