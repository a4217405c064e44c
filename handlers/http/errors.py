"""Every exception a request can end with, and the HTTP reply it becomes."""

import errno
import logging
import sqlite3
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web

from handlers.http.body import BODY_BYTES
from handlers.http.operation import operation_of
from handlers.http.refusal import ErrorBody, FieldError, Handler, RequestRefused
from handlers.http.respond import json_response
from handlers.http.unknown_paths import no_such_path
from pipeline.errors import InvalidParameter, PipelineError, UnsupportedFeature
from pipeline.request.decode import validation_location
from storage.database import fault_code

log = logging.getLogger(__name__)

RETRY_SECONDS: Final = 5
_SHOWN_CHARS: Final = 200
_PREPARED: Final = web.RequestKey("prepared", web.StreamResponse)

# The status of each stable code. A PipelineError whose code is not listed is our failure: 500.
STATUS_OF: Final[Mapping[str, int]] = {
    "invalid_json": 400,
    "model_not_found": 404,
    "not_found": 404,
    "not_ended": 409,
    "preset_exists": 409,
    "unreadable_request": 409,
    "fetch_too_large": 413,
    "image_too_large": 413,
    "unreadable_image": 415,
    "invalid_field": 422,
    "invalid_parameter": 422,
    "key_queue_full": 429,
    "queue_full": 429,
    "not_implemented": 501,
    "device_busy": 503,
    "download_failed": 503,
    "model_not_installed": 503,
    "server_stopping": 503,
    "database_locked": 503,
    "outputs_missing": 503,
    "preset_not_saved": 503,
    "too_many_connections": 503,
    "disk_full": 507,
}
# Codes of exceptions that are not ours. The first match counts, so subclasses stand first.
_CODE_OF: Final[tuple[tuple[type[Exception], str], ...]] = (
    (msgspec.ValidationError, "invalid_field"),
    (msgspec.DecodeError, "invalid_json"),
    (UnicodeDecodeError, "invalid_json"),
    (RecursionError, "invalid_json"),
)
_TEXT_OF: Final[Mapping[str, str]] = {
    "disk_full": "the server's disk is full",
    "database_locked": "another process holds the database; try again",
    "internal": "an internal error; see the server log",
}
_TEMPORARY: Final = frozenset(
    {
        "queue_full",
        "key_queue_full",
        "device_busy",
        "server_stopping",
        "database_locked",
        "outputs_missing",
    }
)


@web.middleware
async def error_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every exception into a reply with an ErrorBody, so that handlers need no ``try``.

    A stream that fails after its head was sent is cut off: the client sees an incomplete reply
    instead of a regular end.
    """
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            return _redirect(error)
        if error.status == HTTPStatus.NOT_FOUND:
            return _reply(request, no_such_path(request.rel_url.raw_path))
        return _reply(request, refusal_of_http(error))
    except Exception as error:  # noqa: BLE001 - the one place that answers for all handlers
        prepared = request.get(_PREPARED)
        if prepared is not None:
            return _break_off(request, prepared, error)
        return _reply(request, refusal_of(request, error))


async def note_prepared(request: web.Request, response: web.StreamResponse) -> None:
    """Remember that the head is on its way. For ``app.on_response_prepare``."""
    request[_PREPARED] = response


def refusal_of(request: web.Request, error: Exception) -> RequestRefused:
    """The status, code and detail of any exception. Unforeseen ones are logged and not shown."""
    if isinstance(error, RequestRefused):
        return error
    code = _code_of(error)
    status = STATUS_OF.get(code, 500)
    if code == "internal":
        log.error("%s %s", request.method, request.path, exc_info=error)
    elif status == STATUS_OF["disk_full"]:
        log.error("%s %s: the disk is full", request.method, request.path)
    headers = {"Retry-After": str(RETRY_SECONDS)} if code in _TEMPORARY else None
    return RequestRefused(status, code, _detail(request, error, code), headers)


def error_body(refusal: RequestRefused) -> web.Response:
    """The reply to a refused request, where its API family has no form of its own."""
    body = ErrorBody(detail=refusal.detail, code=refusal.code)
    return json_response(body, status=refusal.status)


def _reply(request: web.Request, refusal: RequestRefused) -> web.Response:
    operation = operation_of(request.match_info.handler)
    form = error_body if operation is None else operation.error_body or error_body
    response = form(refusal)
    response.headers.update(refusal.headers)
    return response


def _code_of(error: Exception) -> str:
    if isinstance(error, PipelineError):
        return error.code
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "disk_full"
    if isinstance(error, sqlite3.Error) and (code := fault_code(error)):
        return code
    return next((code for kind, code in _CODE_OF if isinstance(error, kind)), "internal")


def _detail(request: web.Request, error: Exception, code: str) -> str | list[FieldError]:
    """What to tell the client. Only our own messages go out: others may contain paths."""
    match error:
        case InvalidParameter(field=field):
            return [FieldError(loc=("body", *field), msg=str(error), type="value_error")]
        case UnsupportedFeature(field=field) if field not in str(error):
            return f"{field}: {error}"
        case PipelineError():
            return str(error)
        case msgspec.ValidationError():
            loc, message, kind = validation_location(error)
            return [FieldError(loc=loc, msg=message, type=kind)]
    return _json_fault(request, error) if code == "invalid_json" else _TEXT_OF[code]


def _json_fault(request: web.Request, error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "the body is not JSON: a string is not UTF-8"
    if isinstance(error, RecursionError):
        return "the body is nested too deeply"
    message = str(error)
    if "(byte " not in message:  # cut short: the fault is where the body ends
        message = f"{message} (byte {request.get(BODY_BYTES, 0)})"
    return f"the body is not JSON: {message}"


def refusal_of_http(error: web.HTTPException) -> RequestRefused:
    """A refusal of aiohttp's own in our form; its replies are plain text."""
    code = HTTPStatus(error.status).phrase.lower().replace(" ", "_").replace("-", "_")
    detail = _explanation(error) or error.reason
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        code, detail = "body_too_large", error.text or error.reason
    headers = {name: error.headers[name] for name in ("Allow",) if name in error.headers}
    return RequestRefused(error.status, code, detail, headers)


def _explanation(error: web.HTTPException) -> str:
    """aiohttp's own words beyond the status, such as what is wrong with a handshake; or ""."""
    text = " ".join((error.text or "").split())
    if text.startswith(f"{error.status}:"):
        return ""
    return "".join(c if c.isprintable() else "?" for c in text)[:_SHOWN_CHARS]


def _redirect(error: web.HTTPException) -> web.Response:
    return web.Response(status=error.status, headers={"Location": error.headers["Location"]})


def _break_off(
    request: web.Request, prepared: web.StreamResponse, error: Exception
) -> web.StreamResponse:
    if not isinstance(error, ConnectionError):  # the client left, which is no fault
        log.error("%s %s: after the head was sent", request.method, request.path, exc_info=error)
    if request.transport is not None:
        request.transport.close()
    return prepared
