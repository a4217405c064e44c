"""What an endpoint takes and gives: decodes its query, opens it to callers, documents it."""

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec
from aiohttp import web
from multidict import MultiDict, MultiDictProxy

from handlers.http.query import QueryDecoder
from handlers.http.refusal import ErrorBodyOf, Handler

IMAGE_TYPES: Final = ("image/png", "image/jpeg", "image/webp")
_MARK: Final = "focal_operation"
_NO_QUERY: Final = MultiDictProxy(MultiDict[str]())


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """A body or a reply: JSON of ``type``, a form of ``form``, and the media types beside it.

    ``schemas`` are those of further media types, such as forms. ``accept`` maps the name of an
    example to the Accept header it is sent with.
    """

    type: Any = None
    form: Any = None
    media_types: tuple[str, ...] = ()
    schemas: Mapping[str, dict[str, object]] = {}
    examples: dict[str, object] = {}
    accept: dict[str, str] = {}


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """The description of one endpoint, and the decorator that gives it to its handler.

    A handler with a parameter ``query`` gets the request's query string decoded into the struct
    that annotates it; the OpenAPI document lists the same struct's fields.
    """

    name: str
    tag: str
    summary: str
    description: str = ""
    body: Payload | None = None
    query: type[msgspec.Struct] | None = None  # set by the decorator
    headers: dict[str, str] = {}
    reply: Payload | None = None
    status: int = 200
    errors: tuple[int, ...] = (401, 403)
    error_replies: Mapping[int, Any] = {}  # status → type of a reply that may stand for ErrorBody
    error_body: ErrorBodyOf | None = None  # its API family's own form of an error
    is_open: bool = False  # answered without a key
    takes_token: bool = False  # opened by ?token=, for what browsers load without headers
    is_linked: bool = False  # a link on another site may lead here
    is_stream: bool = False  # open as long as the client likes, so its duration is not measured
    is_alias: bool = False  # of a path that is described; not in the OpenAPI document
    takes_basic: bool = False  # the key may come as the password of HTTP Basic
    family: str = ""  # API family, as its tasks' records name it; "" for Fooocus's own

    def __call__(self, handler: Callable[..., Awaitable[web.StreamResponse]]) -> Handler:
        """Describe ``handler`` and decode its query."""
        parameter = inspect.signature(handler).parameters.get("query")
        if parameter is None:
            return marked(handler, self)
        decode = QueryDecoder(parameter.annotation)

        @functools.wraps(handler)
        async def endpoint(request: web.Request) -> web.StreamResponse:
            is_empty = not request.rel_url.raw_query_string
            return await handler(request, decode(_NO_QUERY if is_empty else request.query))

        return marked(endpoint, msgspec.structs.replace(self, query=parameter.annotation))


def operation_of(handler: object) -> Operation | None:
    """The description of a handler; None for one without, such as aiohttp's own for a 404."""
    found = getattr(handler, _MARK, None)
    return found if isinstance(found, Operation) else None


def alias_of(handler: Handler) -> Handler:
    """The same endpoint for a second path, which the OpenAPI document does not list."""
    operation = operation_of(handler)
    if operation is None:
        raise TypeError("the handler carries no operation")

    async def endpoint(request: web.Request) -> web.StreamResponse:
        return await handler(request)

    return marked(endpoint, msgspec.structs.replace(operation, is_alias=True))


def marked(handler: Handler, operation: Operation) -> Handler:
    """``handler``, with its description."""
    setattr(handler, _MARK, operation)
    return handler
