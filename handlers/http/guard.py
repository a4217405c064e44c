"""Access checks of Host, Origin and key, made before the body is read."""

import base64
from typing import Final

from aiohttp import hdrs, web

from handlers.http.access import ACCESS, KEY_HEADER, KEY_NAME
from handlers.http.operation import Operation, operation_of
from handlers.http.refusal import Handler, RequestRefused
from handlers.http.same_site import (
    SAFE_METHODS,
    check_change,
    foreign_origin,
    is_foreign,
    referring_origin,
)

SESSION_COOKIE: Final = "focal_session"

_UNKNOWN: Final = Operation(name="", tag="", summary="")  # no route: asks for the key
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
    """Refuse foreign hosts and sites, answer preflights, check the key."""
    _check_host(request)
    _check_origin(request)
    if request.method == hdrs.METH_OPTIONS and "Access-Control-Request-Method" in request.headers:
        return _preflight(request)
    await _check_key(request)
    return await handler(request)


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Security and CORS headers of every reply. For ``app.on_response_prepare``."""
    headers = response.headers
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "same-origin"
    is_page = headers.get(hdrs.CONTENT_TYPE, "").startswith("text/html")
    headers["Content-Security-Policy"] = _PAGE_POLICY if is_page else _DATA_POLICY
    listed = _listed_origin(request)
    headers["Cross-Origin-Resource-Policy"] = "cross-origin" if listed else "same-origin"
    if listed and hdrs.ORIGIN in request.headers:
        headers["Access-Control-Allow-Origin"] = listed
        headers["Access-Control-Allow-Credentials"] = "true"
        headers["Access-Control-Expose-Headers"] = _EXPOSED_HEADERS
    headers.add(hdrs.VARY, hdrs.ORIGIN)


def _check_host(request: web.Request) -> None:
    host = request.headers.get(hdrs.HOST)  # absent: HTTP/1.0, which no browser speaks
    if host is not None and not request.app[ACCESS].host_is_accepted(host):
        raise RequestRefused(
            403,
            "foreign_host",
            "this server listens on loopback and is asked for under another name; "
            "list that origin with --allow-origin",
        )


def _check_origin(request: web.Request) -> None:
    """Refuse what another site's page requests, links to pages and pictures excepted."""
    if is_foreign(request) and not _is_followed_link(request):
        raise foreign_origin()
    if request.method not in SAFE_METHODS:
        check_change(request)


def _is_followed_link(request: web.Request) -> bool:
    headers = request.headers
    return (
        request.method in SAFE_METHODS
        and hdrs.ORIGIN not in headers
        and headers.get("Sec-Fetch-Mode") == "navigate"
        and headers.get("Sec-Fetch-Dest") in ("document", None)
        and _operation(request).is_linked
    )


def _listed_origin(request: web.Request) -> str | None:
    source = request.headers.get(hdrs.ORIGIN) or referring_origin(request)
    return source if source and request.app[ACCESS].origin_is_listed(source) else None


def _preflight(request: web.Request) -> web.Response:
    """Answer a CORS preflight; requests of unlisted origins are refused before."""
    headers = {
        "Access-Control-Allow-Methods": "GET, HEAD, POST",
        "Access-Control-Allow-Headers": _ALLOWED_HEADERS,
        "Access-Control-Max-Age": "600",
    }
    if request.headers.get("Access-Control-Request-Private-Network") == "true":
        headers["Access-Control-Allow-Private-Network"] = "true"
    return web.Response(status=204, headers=headers)


async def _check_key(request: web.Request) -> None:
    policy, operation = request.app[ACCESS], _operation(request)
    if not policy.wants_key or operation.is_open:
        return
    name = await _key_name(request, operation)
    request[KEY_NAME] = name
    if wait_s := policy.keys.wait_s(name):
        raise RequestRefused(
            429,
            "too_many_requests",
            f"the key {name} has used its requests of this minute",
            {hdrs.RETRY_AFTER: str(wait_s)},
        )


async def _key_name(request: web.Request, operation: Operation) -> str:
    """The name of the key that opens this request. Raises RequestRefused.

    HTTP Basic comes last: a proxy in front may have a password of its own in that header.
    """
    policy = request.app[ACCESS]
    offered = _offered_key(request)
    if offered is not None:
        return await matching_key(request, offered)
    if operation.takes_token and "token" in request.query:
        name = policy.grantee("token", request.query["token"])
        if name is None:
            raise forbidden()
        return name
    name = policy.grantee("session", request.cookies.get(SESSION_COOKIE, ""))
    if name is None and operation.takes_basic:
        password = _basic_password(request)
        name = None if password is None else await matching_key(request, password)
    if name is None:
        raise RequestRefused(
            401, "unauthorized", "Unauthorized", {hdrs.WWW_AUTHENTICATE: 'Bearer realm="Focal"'}
        )
    return name


async def matching_key(request: web.Request, offered: str) -> str:
    """The name of the key with this value; "" where the server has none.

    A wrong one is answered slowly. Raises RequestRefused: 403, or 429 for too many.
    """
    policy, address = request.app[ACCESS], request.remote or ""
    if not policy.wants_key:
        return ""
    policy.wrong_keys.check(address)
    key = policy.keys.find(offered)
    if key is None:
        await policy.wrong_keys.slow(address)
        raise forbidden()
    return key.name


def _offered_key(request: web.Request) -> str | None:
    if KEY_HEADER in request.headers:
        return request.headers[KEY_HEADER]
    scheme, _, key = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else None


def _basic_password(request: web.Request) -> str | None:
    """The password of HTTP Basic, whatever the user; None without one."""
    scheme, _, sent = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        _, found, password = base64.b64decode(sent.strip(), validate=True).decode().partition(":")
    except ValueError:
        return None
    return password if found else None


def forbidden() -> RequestRefused:
    """403 for a wrong key, to be raised."""
    return RequestRefused(403, "forbidden", "Forbidden")


def _operation(request: web.Request) -> Operation:
    """That of the matched handler, so no spelling of a path can disguise it."""
    return operation_of(request.match_info.handler) or _UNKNOWN
