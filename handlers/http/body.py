"""Request bodies: read within limits of size and time, decoded as JSON, unknown fields reported."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeVar, cast

import msgspec
from aiohttp import hdrs, web

from handlers.http.refusal import RequestRefused
from handlers.keys import SETTINGS
from pipeline.request.json_body import as_utf8, in_form

log = logging.getLogger(__name__)

BODY_BYTES: Final = web.RequestKey("body_bytes", int)  # length of the body once it has been read
IGNORED_PARAMS: Final = "X-Ignored-Params"
# aiohttp unpacks these, or refuses the request where it lacks the library, and passes on others.
_ENCODINGS: Final = frozenset({"identity", "gzip", "deflate", "br", "zstd"})
_HEADER_LIMIT: Final = 2000  # characters

T = TypeVar("T", bound=msgspec.Struct)


async def read_body(request: web.Request, limit_bytes: int | None = None) -> bytes:
    """The whole body. Raises RequestRefused: 413 too large, 408 too slow, 400 cut short.

    The limit counts decompressed bytes, so a small compressed body cannot exceed it.
    """
    limit = body_limit(request, limit_bytes)
    async with receiving(request):
        body = await _collect(request, limit)
    request[BODY_BYTES] = len(body)
    return body


def body_limit(request: web.Request, limit_bytes: int | None = None) -> int:
    """The largest body in bytes, that of the start option by default.

    Raises RequestRefused: 413 for a request that announces more, 400 for an unknown encoding.
    """
    encoding = request.headers.get(hdrs.CONTENT_ENCODING, "identity")
    if encoding.lower() not in _ENCODINGS:
        raise RequestRefused(400, "bad_request", "the body's Content-Encoding is not known here")
    limit = request.app[SETTINGS].body_limit_bytes if limit_bytes is None else limit_bytes
    if (request.content_length or 0) > limit:
        raise too_large(limit)
    return limit


@asynccontextmanager
async def receiving(request: web.Request) -> AsyncIterator[None]:
    """For the length of receiving a body. Raises RequestRefused: 408 too slow, 400 cut short."""
    seconds = request.app[SETTINGS].body_seconds
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise RequestRefused(
            408, "body_too_slow", f"the body did not arrive within {seconds:g} s"
        ) from None
    except (web.RequestPayloadError, ConnectionError):
        raise RequestRefused(400, "body_incomplete", "the body is damaged or cut short") from None


def too_large(limit: int) -> RequestRefused:
    """413, to be raised."""
    size = f"{limit / 2**20:g} MiB" if limit >= 2**20 else f"{limit} bytes"
    return RequestRefused(413, "body_too_large", f"the body may have at most {size}")


async def read_json(
    request: web.Request, kind: type[T], *, optional: bool = False
) -> tuple[T, dict[str, str]]:
    """The JSON body as ``kind``, and the reply header that names the fields it does not have.

    An ``optional`` body may be empty. Raises msgspec.DecodeError, msgspec.ValidationError,
    RequestRefused.
    """
    raw, body = await read_object(request, kind, optional=optional)
    fields = frozenset(kind.__struct_fields__)
    return body, ignored_headers(request, [key for key in raw if key not in fields])


async def read_object(
    request: web.Request, kind: type[T], *, optional: bool = False
) -> tuple[dict[str, object], T]:
    """As ``read_json``: the fields as they were sent, and the struct made of them."""
    sent = await read_body(request)
    if optional and not sent.strip():
        sent = b"{}"
    raw = in_form(msgspec.json.decode(as_utf8(sent)), kind)
    body = msgspec.convert(raw, kind)
    return cast("dict[str, object]", raw), body


def ignored_headers(request: web.Request, names: Sequence[str]) -> dict[str, str]:
    """The reply header that names ignored fields; empty without any. They are logged as well."""
    if not names:
        return {}
    text = _header_text(names)
    log.info("%s %s: ignored %s", request.method, request.path, text)
    return {IGNORED_PARAMS: text}


def _header_text(names: Sequence[str]) -> str:
    """Names as printable ASCII, safe in a header and in a log line."""
    text = ", ".join(names).encode("ascii", "backslashreplace").decode()
    return "".join(c if c.isprintable() else "?" for c in text)[:_HEADER_LIMIT]


async def _collect(request: web.Request, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > limit:
            raise too_large(limit)
    return bytes(body)
