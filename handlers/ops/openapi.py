"""GET /openapi.json: the routes as OpenAPI 3.1, from the structs that decode and answer."""

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec
from aiohttp import hdrs, web

from handlers.http.operation import Operation, Payload, operation_of
from handlers.http.query import EndTime, StartTime
from handlers.http.refusal import ErrorBody
from handlers.http.respond import base_url, json_response
from handlers.keys import SETTINGS

_REF: Final = "#/components/schemas/{name}"
_PATH_FIELD: Final = re.compile(r"{(\w+)}")
_PHRASES: Final[Mapping[int, str]] = {
    400: "The request cannot be read; the detail says where or why",
    401: "A key is wanted and none was sent",
    403: "A wrong key, or another site asks",
    404: "There is no such thing",
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
    schemas = _Schemas(endpoint.operation for endpoint in endpoints)
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
        if operation is None or route.resource is None or route.method == hdrs.METH_HEAD:
            continue
        if operation.name in seen:
            operation = msgspec.structs.replace(
                operation,
                name=f"{operation.name}_without_slash",
                summary=f"{operation.summary} (the same without the last slash)",
            )
        seen.add(operation.name)
        yield Endpoint(route.method, route.resource.canonical, operation)


class _Schemas:
    """The component schemas of every struct that an operation mentions."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        types: set[Any] = {ErrorBody}
        queries: set[type[msgspec.Struct]] = set()
        for operation in operations:
            payloads = (operation.body, operation.reply)
            types |= {p.type for p in payloads if p is not None and p.type is not None}
            queries |= {operation.query} if operation.query else set()
        self._types = sorted(types | queries, key=repr)
        found, self.components = msgspec.json.schema_components(
            self._types, schema_hook=_schema_of_other, ref_template=_REF
        )
        orders = {
            frozenset(order): order for kind in self._types for order in _literals(kind, set())
        }
        _put_in_order((found, self.components), orders)
        self._found = dict(zip(self._types, found, strict=True))
        self._queries = {query: self.components.pop(query.__name__) for query in queries}

    def of(self, kind: Any) -> dict[str, Any]:
        """A reference to the type's schema, or the schema itself where it has no name."""
        found: dict[str, Any] = self._found[kind]
        return found

    def parameters(self, query: type[msgspec.Struct]) -> Iterator[dict[str, Any]]:
        """A query struct's fields, each as a parameter of its own."""
        schema = self._queries[query]
        for name, property_ in schema["properties"].items():
            field = _without_null(property_)
            yield {
                "name": name,
                "in": "query",
                "required": name in schema.get("required", ()),
                "description": field.pop("description", ""),
                "schema": field,
            }


def _without_null(field: Mapping[str, Any]) -> dict[str, Any]:
    """A field's schema as a parameter's: a query string has no null, only what is left out."""
    schema = dict(field)
    kinds = [kind for kind in schema.pop("anyOf", ()) if kind != {"type": "null"}]
    match schema.get("default", ...):
        case None:
            del schema["default"]
        case tuple(values):
            schema["default"] = list(values)
    return {**schema, **(kinds[0] if len(kinds) == 1 else {"anyOf": kinds} if kinds else {})}


def _literals(kind: Any, seen: set[Any]) -> Iterator[list[Any]]:
    """The values of every Literal in a type in the order of the source: msgspec sorts them."""
    if get_origin(kind) is Literal:
        yield list(get_args(kind))
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind not in seen:
        seen.add(kind)
        for hint in get_type_hints(kind, include_extras=True).values():
            yield from _literals(hint, seen)
    for part in get_args(kind):
        yield from _literals(part, seen)


def _put_in_order(node: Any, orders: Mapping[frozenset[Any], list[Any]]) -> None:
    """Give every ``enum`` of a document the order of its Literal."""
    if isinstance(node, dict):
        values = node.get("enum")
        if isinstance(values, list):
            node["enum"] = orders.get(frozenset(values), values)
        node = tuple(node.values())
    if isinstance(node, list | tuple):
        for part in node:
            _put_in_order(part, orders)


def _schema_of_other(kind: type) -> dict[str, Any]:
    """Of the types that msgspec does not know: ``object`` stands for any JSON."""
    if kind is object:
        return {"description": "Any JSON."}
    if issubclass(kind, StartTime | EndTime):
        return {"type": "string"}
    raise NotImplementedError(kind)


def _describe(endpoint: Endpoint, schemas: _Schemas) -> dict[str, Any]:
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
    if operation.takes_token:
        described["security"] = [{"key": []}, {"bearer": []}, {"session": []}, {"token": []}, {}]
    return described


def _parameters(endpoint: Endpoint, schemas: _Schemas) -> Iterator[dict[str, Any]]:
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


def _responses(operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    responses: dict[str, Any] = {
        str(operation.status): {
            "description": operation.summary,
            **({"content": _content(operation.reply, schemas)} if operation.reply else {}),
        }
    }
    error = {"application/json": {"schema": schemas.of(ErrorBody)}}
    # 400 is also what is no HTTP request, such as one whose line is longer than 8190 bytes.
    for status in sorted({400, *operation.errors}):
        responses[str(status)] = {"description": _PHRASES[status], "content": error}
    return responses


def _content(payload: Payload, schemas: _Schemas) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if payload.type is not None:
        content["application/json"] = {"schema": schemas.of(payload.type)}
        if payload.examples:
            content["application/json"]["examples"] = {
                name: {"value": value} | _sent_with(payload.accept.get(name))
                for name, value in payload.examples.items()
            }
    for media_type in payload.media_types:
        binary = media_type.startswith("image/")
        content[media_type] = {"schema": {} if binary else {"type": "string"}}
    return content


def _sent_with(accept: str | None) -> dict[str, str]:
    """OpenAPI examples cannot hold headers; the page /docs reads this extension."""
    return {"x-accept": accept} if accept else {}
