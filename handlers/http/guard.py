"""Who is let in: Host, Origin and key are checked before a byte of the body is read."""

from typing import Final
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from handlers.http.access import AccessPolicy
from handlers.http.errors import Handler, RequestRefused

ACCESS: Final = web.AppKey("access", AccessPolicy)
SESSION_COOKIE: Final = "focal_session"
KEY_HEADER: Final = "X-API-KEY"

# Routes, not paths: what a path resolves to cannot be disguised by its spelling.
OPEN_ROUTES: Final = frozenset({"/", "/docs", "/health", "/login", "/static/{path}"})
PAGE_ROUTES: Final = frozenset({"/", "/docs", "/static/{path}"})
_PICTURE_ROUTES: Final = frozenset(
    {"/outputs/{date}/{file}", "/inputs/{file}", "/thumbnails/{date}/{file}"}
)
LINKED_ROUTES: Final = PAGE_ROUTES | _PICTURE_ROUTES
# Only what a browser loads without being able to set a header.
TOKEN_ROUTES: Final = _PICTURE_ROUTES | {"/v1/events", "/ws"}

_SAFE: Final = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})
_ALLOWED_HEADERS: Final = (
    "Accept, Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-API-KEY"
)
_EXPOSED_HEADERS: Final = "Retry-After, X-Ignored-Params, X-Task-Id"
_PAGE_POLICY: Final = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
_DATA_POLICY: Final = "default-src 'none'; frame-ancestors 'none'; sandbox"


@web.middleware
async def guard_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse other hosts' and other sites' requests, answer preflights, ask for the key."""
    _check_host(request)
    _check_origin(request)
    if request.method == hdrs.METH_OPTIONS and "Access-Control-Request-Method" in request.headers:
        return _preflight(request)
    _check_key(request)
    return await handler(request)


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """What browsers must be told with every reply. For ``app.on_response_prepare``."""
    headers = response.headers
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "same-origin"
    is_page = response.content_type == "text/html"
    headers["Content-Security-Policy"] = _PAGE_POLICY if is_page else _DATA_POLICY
    listed = _listed_origin(request)
    headers["Cross-Origin-Resource-Policy"] = "cross-origin" if listed else "same-origin"
    if listed and hdrs.ORIGIN in request.headers:
        headers["Access-Control-Allow-Origin"] = listed
        headers["Access-Control-Allow-Credentials"] = "true"
        headers["Access-Control-Expose-Headers"] = _EXPOSED_HEADERS
    headers.add("Vary", hdrs.ORIGIN)


def _check_host(request: web.Request) -> None:
    host = request.headers.get(hdrs.HOST)  # none at all: HTTP/1.0, which no browser speaks
    if host is not None and not request.app[ACCESS].host_is_accepted(host):
        raise RequestRefused(
            403,
            "foreign_host",
            "this server listens on loopback and is asked for under another name; "
            "list that origin with --allow-origin",
        )


def _check_origin(request: web.Request) -> None:
    """A request that another site's page made is refused; a link to a page may be followed."""
    if _is_foreign(request) and not _is_followed_link(request):
        raise RequestRefused(
            403, "foreign_origin", "another site asks; list its origin with --allow-origin"
        )


def _is_foreign(request: web.Request) -> bool:
    origins = request.headers.getall(hdrs.ORIGIN, [])
    if len(origins) > 1:
        return True
    source = origins[0] if origins else _referring_origin(request)
    if source is not None:
        policy = request.app[ACCESS]
        own = policy.origin_is_own(source, request.headers.get(hdrs.HOST, ""))
        return not own and not policy.origin_is_listed(source)
    return request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site")


def _is_followed_link(request: web.Request) -> bool:
    headers = request.headers
    return (
        request.method in _SAFE
        and hdrs.ORIGIN not in headers
        and headers.get("Sec-Fetch-Mode") == "navigate"
        and headers.get("Sec-Fetch-Dest") in ("document", None)
        and _route(request) in LINKED_ROUTES
    )


def _referring_origin(request: web.Request) -> str | None:
    """Images and links send no Origin, but their page's address: a page cannot forge it."""
    if "Sec-Fetch-Site" not in request.headers:  # no browser, or one too old to tell
        return None
    try:
        parts = urlsplit(request.headers.get(hdrs.REFERER, ""))
    except ValueError:
        return None
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else None


def _listed_origin(request: web.Request) -> str | None:
    source = request.headers.get(hdrs.ORIGIN) or _referring_origin(request)
    return source if source and request.app[ACCESS].origin_is_listed(source) else None


def _preflight(request: web.Request) -> web.Response:
    """A browser asks on behalf of a page. Who is not listed never gets here with an answer."""
    headers = {
        "Access-Control-Allow-Methods": "GET, HEAD, POST",
        "Access-Control-Allow-Headers": _ALLOWED_HEADERS,
        "Access-Control-Max-Age": "600",
    }
    if request.headers.get("Access-Control-Request-Private-Network") == "true":
        headers["Access-Control-Allow-Private-Network"] = "true"
    return web.Response(status=204, headers=headers)


def _check_key(request: web.Request) -> None:
    policy = request.app[ACCESS]
    if not policy.wants_key or _route(request) in OPEN_ROUTES:
        return
    offered = _offered_key(request)
    if offered is not None:
        if not policy.key_matches(offered):
            raise _forbidden()
    elif "token" in request.query and _route(request) in TOKEN_ROUTES:
        if not policy.grant_is_valid("token", request.query["token"]):
            raise _forbidden()
    elif not policy.grant_is_valid("session", request.cookies.get(SESSION_COOKIE, "")):
        raise RequestRefused(
            401, "unauthorized", "Unauthorized", {hdrs.WWW_AUTHENTICATE: 'Bearer realm="Focal"'}
        )


def _offered_key(request: web.Request) -> str | None:
    if KEY_HEADER in request.headers:
        return request.headers[KEY_HEADER]
    scheme, _, key = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else None


def _forbidden() -> RequestRefused:
    return RequestRefused(403, "forbidden", "Forbidden")


def _route(request: web.Request) -> str | None:
    """The route's pattern; None where nothing answers at this path and method."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else None
