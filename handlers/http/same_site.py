"""Where a request comes from: this server's pages, a listed origin, another site, or a script.

Browsers name the site in Origin or Sec-Fetch-Site, but send neither with an image or a link of a
plain-http page unless the server's name is localhost. So a change of state needs more proof.
"""

import re
from typing import Final
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from handlers.http.access import ACCESS, KEY_HEADER
from handlers.http.refusal import RequestRefused

SITE_HEADER: Final = "Sec-Fetch-Site"
SAFE_METHODS: Final = frozenset({hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS})

# What a page of another site cannot add to a request without a preflight, which is refused.
_PROOFS: Final = (KEY_HEADER, "Idempotency-Key", "X-Requested-With")
_BROWSER: Final = re.compile(r"\s*(Mozilla|Opera)/", re.IGNORECASE)


def is_foreign(request: web.Request) -> bool:
    """Does another site's page make this request, as far as its headers tell?"""
    origins = request.headers.getall(hdrs.ORIGIN, [])
    if len(origins) > 1:
        return True
    source = origins[0] if origins else None
    if source is None and SITE_HEADER in request.headers:  # else mostly no browser
        source = referring_origin(request)
    if source is not None:
        return not _is_known(request, source)
    return request.headers.get(SITE_HEADER) in ("cross-site", "same-site")


def check_change(request: web.Request) -> None:
    """Refuse a change of state unless it is this server's page, a listed origin, or a script.

    Raises RequestRefused: 403.
    """
    headers = request.headers
    if hdrs.ORIGIN in headers or SITE_HEADER in headers or _has_proof(request):
        return  # the first two are what ``is_foreign`` goes by
    referrer = referring_origin(request)
    is_suspect = _is_browser(request) if referrer is None else not _is_known(request, referrer)
    if is_suspect:
        raise foreign_origin()


def referring_origin(request: web.Request) -> str | None:
    """The origin of the Referer, which images and links send in place of Origin."""
    referrer = request.headers.get(hdrs.REFERER)
    if not referrer:
        return None
    try:
        parts = urlsplit(referrer)
    except ValueError:
        return "null"  # a Referer, and none of ours
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else None


def foreign_origin() -> RequestRefused:
    """403, to be raised."""
    return RequestRefused(
        403,
        "foreign_origin",
        "another site's page asks for this, or may; list its origin with --allow-origin,"
        " or send the header X-Requested-With from a script",
    )


def _is_known(request: web.Request, origin: str) -> bool:
    policy = request.app[ACCESS]
    own = policy.origin_is_own(origin, request.headers.get(hdrs.HOST, ""))
    return own or policy.origin_is_listed(origin)


def _has_proof(request: web.Request) -> bool:
    headers = request.headers
    return (
        any(name in headers for name in _PROOFS)
        or headers.get(hdrs.AUTHORIZATION, "").lower().startswith("bearer ")
        or request.content_type == "application/json"
    )


def _is_browser(request: web.Request) -> bool:
    return _BROWSER.match(request.headers.get(hdrs.USER_AGENT, "")) is not None
