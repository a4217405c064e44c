"""GET /openapi.json: the routes as OpenAPI 3.1, from the structs that decode and answer."""

import asyncio
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from aiohttp import hdrs, web

from handlers.http.operation import Operation, Payload, operation_of
from handlers.http.refusal import ErrorBody
from handlers.http.respond import base_url, json_response
from handlers.keys import SETTINGS
from handlers.ops.schemas import Schemas

_TEXT: Final = {"type": "string"}
_BINARY: Final = {"type": "string", "format": "binary"}  # the form that client generators know
_PATH_FIELD: Final = re.compile(r"{(\w+)}")
_PHRASES: Final[Mapping[int, str]] = {
    400: "The request cannot be read; the detail says where or why",
    401: "A key is wanted and none was sent",
    403: "A wrong key, or another site asks",
    404: "There is no such thing",
    406: "No image type that Accept allows is made here; the detail lists those that are",
    408: "The body did not arrive in time",
    409: "Not in this state; the detail says why",
    412: "The file is not the one that was meant",
    413: "The body is too large",
    415: "The bytes are no picture that is read here",
    416: "The range begins behind the end of the file",
    422: "A field is wrong; the detail lists where and why",
    429: "The queue is full; Retry-After says when to come back",
    500: "The task failed",
    501: "Not built yet; the detail names the field",
    503: "Not ready, or a model file is missing; the detail says what to do",
    507: "The disk is full",
}


class Endpoint(msgspec.Struct, frozen=True):
    """A described route."""

    method: str
    path: str
    operation: Operation


@Operation(
    name="openapi",
    tag="server",
    summary="This document",
    reply=Payload(type=dict[str, object]),
)
async def openapi(request: web.Request) -> web.Response:
    """The document, with this server's address in it."""
    version = request.app[SETTINGS].version
    router, url = request.app.router, base_url(request)
    return json_response(await asyncio.to_thread(build_document, router, version, url))


def build_document(
    router: web.UrlDispatcher, version: str = "", server_url: str = ""
) -> dict[str, Any]:
    """Describe every route of ``router``. The same for the same arguments."""
    endpoints = list(_endpoints(router))
    schemas = Schemas(endpoint.operation for endpoint in endpoints)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        described = _describe(endpoint, schemas)
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Focal",
            "version": version,
            "description": "Pictures from words: one queue, four ways of answering, live events.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": server_url or "/"}],
        "security": [{"key": []}, {"bearer": []}, {"session": []}, {}],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "X-API-KEY"},
                "bearer": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "focal_session"},
                "token": {"type": "apiKey", "in": "query", "name": "token"},
                "basic": {"type": "http", "scheme": "basic"},
            },
        },
    }


def _endpoints(router: web.UrlDispatcher) -> Iterator[Endpoint]:
    """The described routes, in their order.

    A second spelling of a path, without the last slash, is an operation with a name of its own.
    """
    seen: set[str] = set()
    for route in router.routes():
        operation = operation_of(route.handler)
        if operation is None or operation.is_alias:
            continue
        if route.resource is None or route.method == hdrs.METH_HEAD:
            continue
        if operation.name in seen:
            operation = msgspec.structs.replace(
                operation,
                name=f"{operation.name}_without_slash",
                summary=f"{operation.summary} (the same without the last slash)",
            )
        seen.add(operation.name)
        yield Endpoint(route.method, route.resource.canonical, operation)


def _describe(endpoint: Endpoint, schemas: Schemas) -> dict[str, Any]:
    operation = endpoint.operation
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": list(_parameters(endpoint, schemas)),
        "responses": _responses(operation, schemas),
    }
    if operation.description:
        described["description"] = operation.description
    if operation.body:
        content = _content(operation.body, schemas)
        described["requestBody"] = {"required": True, "content": content}
    if operation.is_open:
        described["security"] = []
    elif operation.takes_token or operation.takes_basic:
        described["security"] = [{name: []} for name in _ways_in(operation)] + [{}]
    return described


def _ways_in(operation: Operation) -> Iterator[str]:
    """The security schemes that open an operation, where the server wants a key."""
    yield from ("key", "bearer", "session")
    if operation.takes_token:
        yield "token"
    if operation.takes_basic:
        yield "basic"


def _parameters(endpoint: Endpoint, schemas: Schemas) -> Iterator[dict[str, Any]]:
    operation = endpoint.operation
    for name in _PATH_FIELD.findall(endpoint.path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
    if operation.query:
        yield from schemas.parameters(operation.query)
    for name, description in operation.headers.items():
        yield {
            "name": name,
            "in": "header",
            "required": False,
            "description": description,
            "schema": {"type": "string"},
        }


def _responses(operation: Operation, schemas: Schemas) -> dict[str, Any]:
    responses: dict[str, Any] = {
        str(operation.status): {
            "description": operation.summary,
            **({"content": _content(operation.reply, schemas)} if operation.reply else {}),
        }
    }
    # 400 is also what is no HTTP request, such as one whose line is longer than 8190 bytes.
    any_request = (400, 408) if operation.body else (400,)
    for status in sorted({*any_request, *operation.errors}):
        schema = schemas.of(ErrorBody)
        if (record := operation.error_replies.get(status)) is not None:
            schema = {"anyOf": [schemas.of(record), schema]}
        content = {"application/json": {"schema": schema}}
        responses[str(status)] = {"description": _PHRASES[status], "content": content}
    return responses


def _content(payload: Payload, schemas: Schemas) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if payload.type is not None:
        content["application/json"] = {"schema": schemas.of(payload.type)}
        if payload.examples:
            content["application/json"]["examples"] = {
                name: {"value": value} | _sent_with(payload.accept.get(name))
                for name, value in payload.examples.items()
            }
    if payload.form is not None:
        content["multipart/form-data"] = {"schema": schemas.of(payload.form)}
    for media_type in payload.media_types:
        content[media_type] = {"schema": _TEXT if media_type.startswith("text/") else _BINARY}
    for media_type, schema in payload.schemas.items():
        content[media_type] = {"schema": schema}
    return content


def _sent_with(accept: str | None) -> dict[str, str]:
    """OpenAPI examples cannot hold headers; the page /docs reads this extension."""
    return {"x-accept": accept} if accept else {}
