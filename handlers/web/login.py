"""Sessions and tokens for browsers, whose images, streams and sockets cannot send a key."""

from typing import Final

import msgspec
from aiohttp import hdrs, web
from msgspec import UNSET, UnsetType

from handlers.http.access import ACCESS, KEY_NAME, SECONDS
from handlers.http.form import read_form
from handlers.http.guard import SESSION_COOKIE, matching_key
from handlers.http.operation import Operation, Payload
from handlers.http.respond import base_url, json_response

FORM_BYTES: Final = 4096  # read before any key has been checked
_LOGIN_FORM: Final[dict[str, object]] = {
    "type": "object",
    "properties": {
        "key": {"type": "string", "description": "The API key."},
        "next": {"type": "string", "description": "Path that a browser is sent to."},
    },
    "required": ["key"],
}


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """A session or signed token, with its expiry. ``expires`` is a Unix time in seconds."""

    expires: int
    token: str | UnsetType = UNSET


@Operation(
    name="login",
    tag="access",
    summary="Trade the key, in a form field `key`, for a session cookie",
    body=Payload(schemas={"application/x-www-form-urlencoded": _LOGIN_FORM}),
    reply=Payload(type=Grant),
    errors=(400, 403, 413),
    is_open=True,
)
async def login(request: web.Request) -> web.Response:
    """Exchange the key in a form (``key``, ``next``) for a session cookie.

    Browsers are redirected to ``next``, a path of this server; scripts get JSON.
    """
    form = await read_form(request, FORM_BYTES)
    name = await matching_key(request, form.value("key"))
    value, expires = request.app[ACCESS].grant("session", name)
    if "text/html" in request.headers.get(hdrs.ACCEPT, ""):
        target = form.value("next")
        answer = web.Response(status=303, headers={hdrs.LOCATION: _local_path(target)})
    else:
        answer = json_response(Grant(expires=expires))
    answer.set_cookie(
        SESSION_COOKIE,
        value,
        max_age=SECONDS["session"],
        httponly=True,
        samesite="Strict",
        secure=base_url(request).startswith("https://"),
    )
    answer.headers[hdrs.CACHE_CONTROL] = "no-store"
    return answer


@Operation(name="logout", tag="access", summary="End the session", status=204)
async def logout(request: web.Request) -> web.Response:
    """End the session, here and in this browser: its cookie opens nothing any more."""
    request.app[ACCESS].revoke(request.cookies.get(SESSION_COOKIE, ""))
    answer = web.Response(status=204)
    answer.del_cookie(SESSION_COOKIE, httponly=True, samesite="Strict")
    return answer


@Operation(
    name="token",
    tag="access",
    summary="A signed ?token= for streams, sockets and pictures, good for five minutes",
    reply=Payload(type=Grant),
)
async def token(request: web.Request) -> web.Response:
    """A signed ``?token=`` for streams, sockets and pictures, good for five minutes."""
    value, expires = request.app[ACCESS].grant("token", request.get(KEY_NAME, ""))
    answer = json_response(Grant(token=value, expires=expires))
    answer.headers[hdrs.CACHE_CONTROL] = "no-store"
    return answer


def _local_path(target: str) -> str:
    """``target`` if it is a path of this server: two slashes or a backslash begin a host."""
    is_local = target.startswith("/") and not target.startswith("//") and "\\" not in target
    return target if is_local and target.isascii() and target.isprintable() else "./"
