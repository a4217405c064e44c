"""JSON fields that mean nothing: ignored, and named in a header and in the log."""

import logging
from typing import Final, TypeVar

import msgspec
from aiohttp import web

from handlers.http.limits import read_body

log = logging.getLogger(__name__)

IGNORED_PARAMS: Final = "X-Ignored-Params"
_LIMIT: Final = 2000  # characters of a header

T = TypeVar("T", bound=msgspec.Struct)


async def read_json(request: web.Request, kind: type[T]) -> tuple[T, dict[str, str]]:
    """The request's JSON body as ``kind``, and the headers of the answer that name the rest.

    Raises msgspec.DecodeError, msgspec.ValidationError, RequestRefused.
    """
    raw = msgspec.json.decode(await read_body(request))
    body = msgspec.convert(raw, kind)
    fields = frozenset(kind.__struct_fields__)
    return body, ignored_headers(request, [key for key in raw if key not in fields])


def ignored_headers(request: web.Request, names: list[str] | tuple[str, ...]) -> dict[str, str]:
    """The header that names these fields, if there are any; they are logged as well."""
    if not names:
        return {}
    text = _header_text(names)
    log.info("%s %s: ignored %s", request.method, request.path, text)
    return {IGNORED_PARAMS: text}


def _header_text(names: list[str] | tuple[str, ...]) -> str:
    """Names as a header and a line of the log can carry them."""
    text = ", ".join(names).encode("ascii", "backslashreplace").decode()
    return "".join(c if c.isprintable() else "?" for c in text)[:_LIMIT]
