"""Every exception a request can end with, and the HTTP answer it becomes."""

import errno
import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web

from handlers.http.respond import json_response
from pipeline.errors import (
    DeviceBusy,
    DownloadFailed,
    InvalidParameter,
    ModelNotFound,
    ModelNotInstalled,
    PipelineError,
    QueueFull,
    ServerStopping,
    UnsupportedFeature,
)
from pipeline.images.encode import ImageTooLarge, UnreadableImage
from pipeline.request.decode import validation_location

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Location = tuple[str | int, ...]

RETRY_SECONDS: Final = 5
BODY_BYTES: Final = web.RequestKey("body_bytes", int)  # how long the body was, once it is read
_PREPARED: Final = web.RequestKey("prepared", web.StreamResponse)


class FieldError(msgspec.Struct, frozen=True):
    """One field that is wrong: where it stands, what is wrong, and a name for that."""

    loc: Location
    msg: str
    type: str


class ErrorBody(msgspec.Struct, frozen=True):
    """What every refused or failed request is answered with. ``code`` is stable."""

    detail: str | list[FieldError]
    code: str


class RequestRefused(Exception):
    """A handler's plain no: the status, the stable code and what to tell the client."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str | list[FieldError],
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.body = ErrorBody(detail=detail, code=code)
        self.headers = headers


# Most specific first: the first match wins.
STATUS_OF: Final[tuple[tuple[type[Exception], int, str], ...]] = (
    (msgspec.ValidationError, 422, "invalid_field"),
    (InvalidParameter, 422, InvalidParameter.code),
    (msgspec.DecodeError, 400, "invalid_json"),
    (UnicodeDecodeError, 400, "invalid_json"),
    (RecursionError, 400, "invalid_json"),
    (ModelNotFound, 404, ModelNotFound.code),
    (ModelNotInstalled, 503, ModelNotInstalled.code),
    (DownloadFailed, 503, DownloadFailed.code),
    (QueueFull, 429, QueueFull.code),
    (DeviceBusy, 503, DeviceBusy.code),
    (ServerStopping, 503, ServerStopping.code),
    (ImageTooLarge, 413, ImageTooLarge.code),
    (UnreadableImage, 415, UnreadableImage.code),
    (UnsupportedFeature, 501, UnsupportedFeature.code),
)


@web.middleware
async def error_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every exception into an ErrorBody. Handlers need no try of their own.

    A stream that fails after its head was sent cannot say so any more: its connection is
    closed, so that the client sees an end too early and not a good one.
    """
    try:
        return await handler(request)
    except web.HTTPException as error:
        return _plain(error) if error.status >= 400 else _redirect(error)
    except Exception as error:  # noqa: BLE001 - the one place that answers for all handlers
        prepared = request.get(_PREPARED)
        if prepared is not None:
            return _break_off(request, prepared, error)
        return _answer(request, error)


async def note_prepared(request: web.Request, response: web.StreamResponse) -> None:
    """Remember that the head is on its way. For ``app.on_response_prepare``."""
    request[_PREPARED] = response


def field_error(loc: Location, message: str, kind: str = "value_error") -> web.Response:
    """422 for one field of the body, query or path."""
    detail = [FieldError(loc=loc, msg=message, type=kind)]
    return json_response(ErrorBody(detail=detail, code=InvalidParameter.code), status=422)


def _answer(request: web.Request, error: Exception) -> web.Response:
    if isinstance(error, RequestRefused):
        return json_response(error.body, status=error.status, headers=error.headers)
    for kind, status, code in STATUS_OF:
        if isinstance(error, kind):
            waits = isinstance(error, QueueFull | DeviceBusy | ServerStopping)
            headers = {"Retry-After": str(RETRY_SECONDS)} if waits else None
            body = ErrorBody(detail=_detail(request, error), code=code)
            return json_response(body, status=status, headers=headers)
    return _unexpected(request, error)


def _unexpected(request: web.Request, error: Exception) -> web.Response:
    """What went wrong on our side. Only our own messages go out: others may hold paths."""
    if isinstance(error, PipelineError):
        return json_response(ErrorBody(detail=str(error), code=error.code), status=500)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        log.error("%s %s: the disk is full", request.method, request.path)
        body = ErrorBody(detail="the server's disk is full", code="disk_full")
        return json_response(body, status=507)
    log.error("%s %s", request.method, request.path, exc_info=error)
    body = ErrorBody(detail="an internal error; see the server log", code="internal")
    return json_response(body, status=500)


def _detail(request: web.Request, error: Exception) -> str | list[FieldError]:
    if isinstance(error, InvalidParameter):
        return [FieldError(loc=("body", *error.field), msg=str(error), type="value_error")]
    if isinstance(error, msgspec.ValidationError):
        loc, message, kind = validation_location(error)
        return [FieldError(loc=loc, msg=message, type=kind)]
    if isinstance(error, msgspec.DecodeError | UnicodeDecodeError | RecursionError):
        return _json_fault(request, error)
    if isinstance(error, UnsupportedFeature) and error.field not in str(error):
        return f"{error.field}: {error}"
    return str(error)


def _json_fault(request: web.Request, error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "the body is not JSON: a string is not UTF-8"
    if isinstance(error, RecursionError):
        return "the body is nested too deeply"
    message = str(error)
    if "(byte " not in message:  # cut short: the fault is where the body ends
        message = f"{message} (byte {request.get(BODY_BYTES, 0)})"
    return f"the body is not JSON: {message}"


def _plain(error: web.HTTPException) -> web.Response:
    """The same answer as JSON: aiohttp's own are plain text."""
    code = HTTPStatus(error.status).phrase.lower().replace(" ", "_").replace("-", "_")
    detail = error.reason
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        code, detail = "body_too_large", error.text or error.reason
    headers = {name: error.headers[name] for name in ("Allow",) if name in error.headers}
    return json_response(ErrorBody(detail=detail, code=code), status=error.status, headers=headers)


def _redirect(error: web.HTTPException) -> web.Response:
    return web.Response(status=error.status, headers={"Location": error.headers["Location"]})


def _break_off(
    request: web.Request, prepared: web.StreamResponse, error: Exception
) -> web.StreamResponse:
    if not isinstance(error, ConnectionError):  # the client left: nobody to tell, nothing wrong
        log.error("%s %s: after the head was sent", request.method, request.path, exc_info=error)
    if request.transport is not None:
        request.transport.close()
    return prepared
