"""The Idempotency-Key header: a request that repeats one joins the first request's task."""

from typing import Final

from aiohttp import web

from handlers.http.refusal import RequestRefused

IDEMPOTENCY_KEY: Final = "Idempotency-Key"
KEY_LIMIT: Final = 255  # characters


def idempotency_key(request: web.Request) -> str:
    """The header's value, or "". Raises RequestRefused: 400 if it is too long or not printable."""
    key = request.headers.get(IDEMPOTENCY_KEY, "")
    if len(key) > KEY_LIMIT:
        detail = f"{IDEMPOTENCY_KEY} may have at most {KEY_LIMIT} characters"
        raise RequestRefused(400, "invalid_header", detail)
    if not key.isprintable():  # bytes that are not UTF-8 included, which SQLite does not take
        raise RequestRefused(400, "invalid_header", f"{IDEMPOTENCY_KEY} must be printable text")
    return key
