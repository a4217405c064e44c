"""GET /openapi.json: the API as OpenAPI 3.1, made from the structs that decode and answer."""

import asyncio
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec
from aiohttp import web

from handlers.http.errors import ErrorBody
from handlers.http.operation import Operation, Payload
from handlers.http.respond import base_url, json_response
from handlers.keys import SETTINGS
from handlers.ops.operations import OPERATIONS

_REF: Final = "#/components/schemas/{name}"
_PATH_FIELD: Final = re.compile(r"{(\w+)}")
_PHRASES: Final[Mapping[int, str]] = {
    400: "The body is not JSON; the detail names the byte",
    401: "A key is wanted and none was sent",
    403: "A wrong key, or another site asks",
    404: "There is no such thing",
    409: "Not in this state; the detail says why",
    413: "The body is too large",
    415: "The bytes are no picture that is read here",
    422: "A field is wrong; the detail lists where and why",
    429: "The queue is full; Retry-After says when to come back",
    500: "The task failed",
    501: "Not built yet; the detail names the field",
    503: "Not ready, or a model file is missing; the detail says what to do",
}


async def openapi(request: web.Request) -> web.Response:
    """The document, with this server's address in it."""
    settings = request.app[SETTINGS]
    document = await asyncio.to_thread(build_document, settings.version, base_url(request))
    return json_response(document)


def build_document(version: str, server_url: str = "") -> dict[str, Any]:
    """Describe every operation. The same for the same arguments."""
    schemas = _Schemas()
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        described = _describe(operation, schemas)
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
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


class _Schemas:
    """The component schemas of every struct that an operation mentions."""

    def __init__(self) -> None:
        payloads = (p for op in OPERATIONS for p in (op.body, op.reply))
        types = {p.type for p in payloads if p is not None and p.type is not None}
        types |= {op.query for op in OPERATIONS if op.query is not None} | {ErrorBody}
        self._types = sorted(types, key=repr)
        found, self.components = msgspec.json.schema_components(
            self._types, schema_hook=_schema_of_other, ref_template=_REF
        )
        orders = {
            frozenset(order): order for kind in self._types for order in _literals(kind, set())
        }
        _put_in_order((found, self.components), orders)
        self._found = dict(zip(self._types, found, strict=True))
        self._queries = {
            op.query: self.components.pop(op.query.__name__) for op in OPERATIONS if op.query
        }

    def of(self, kind: Any) -> dict[str, Any]:
        """A reference to the type's schema, or the schema itself where it has no name."""
        found: dict[str, Any] = self._found[kind]
        return found

    def parameters(self, query: type[msgspec.Struct]) -> Iterator[dict[str, Any]]:
        """A query struct's fields, each as a parameter of its own."""
        schema = self._queries[query]
        for name, field in schema["properties"].items():
            yield {
                "name": name,
                "in": "query",
                "required": name in schema.get("required", ()),
                "description": field.get("description", ""),
                "schema": {key: value for key, value in field.items() if key != "description"},
            }


def _literals(kind: Any, seen: set[Any]) -> Iterator[list[Any]]:
    """The values of every Literal in a type, as they were written down: msgspec sorts them."""
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
    """``object`` stands for any JSON."""
    if kind is object:
        return {"description": "Any JSON."}
    raise NotImplementedError(kind)


def _describe(operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": list(_parameters(operation, schemas)),
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


def _parameters(operation: Operation, schemas: _Schemas) -> Iterator[dict[str, Any]]:
    for name in _PATH_FIELD.findall(operation.path):
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
    for status in operation.errors:
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
    """An example has no place for headers of its own; the page /docs reads this extension."""
    return {"x-accept": accept} if accept else {}
