"""The component schemas of the OpenAPI document, in the form that client generators take.

msgspec writes them; what differs from its output is here, each with its reason.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec

from handlers.http.operation import Operation
from handlers.http.query import EndTime, StartTime
from handlers.http.refusal import ErrorBody

APPLIES: Final = "x-default"  # of a request's field: what leaving it out comes to in the end
_REF_PREFIX: Final = "#/components/schemas/"
_TYPES: Final = {str: "string", int: "integer", bool: "boolean"}
_INT32_MAX: Final = 2**31 - 1
# The forms of ISO 8601 that have a date; a time and a zone may follow.
_TIME: Final = {"type": "string", "pattern": r"^\d{4}-?(\d\d-?\d\d|W\d\d(-?\d)?)(.\d\d.*)?$"}


class Schemas:
    """The schemas of every type that an operation mentions."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        types: set[Any] = {ErrorBody}
        bodies: set[Any] = set()
        forms: set[type[msgspec.Struct]] = set()
        queries: set[type[msgspec.Struct]] = set()
        for operation in operations:
            payloads = (operation.body, operation.reply)
            types |= {kind for p in payloads if p is not None for kind in (p.type, p.form) if kind}
            types |= set(operation.error_replies.values())
            bodies |= {operation.body.type} if operation.body and operation.body.type else set()
            forms |= {operation.body.form} if operation.body and operation.body.form else set()
            queries |= {operation.query} if operation.query else set()
        self._types = sorted(types | queries, key=repr)
        found, self.components = msgspec.json.schema_components(
            self._types, schema_hook=_schema_of_other, ref_template=f"{_REF_PREFIX}{{name}}"
        )
        orders = {
            frozenset(order): order for kind in self._types for order in _literals(kind, set())
        }
        for node in _nodes((found, self.components)):
            _complete_choices(node, orders)
            _make_tuple_a_list(node)
            _name_large_integers(node)
            if node.get("format") == "binary":
                node.pop("contentEncoding", None)  # msgspec's, of bytes inside JSON
        self._found = dict(zip(self._types, found, strict=True))
        self._queries = {query: self.components.pop(self._name_of(query)) for query in queries}
        for name in self._names_within([self._found[body] for body in bodies]):
            _make_request(self.components[name])
        for form in forms:
            properties = self.components[self._name_of(form)]["properties"]
            properties |= {name: _in_form(field) for name, field in properties.items()}

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

    def _name_of(self, kind: type[msgspec.Struct]) -> str:
        """Its component's name: with the module, where two structs have one name."""
        reference: str = self._found[kind]["$ref"]
        return reference.removeprefix(_REF_PREFIX)

    def _names_within(self, node: Any) -> set[str]:
        """The components that a schema refers to, directly or through others."""
        names: set[str] = set()
        waiting = [node]
        while waiting:
            for part in _nodes(waiting.pop()):
                name = str(part.get("$ref", "")).removeprefix(_REF_PREFIX)
                if name and name not in names:
                    names.add(name)
                    waiting.append(self.components[name])
        return names


def _nodes(node: Any) -> Iterator[dict[str, Any]]:
    """Every object of a document, the outer ones first. They may be changed while they come."""
    if isinstance(node, dict):
        yield node
        node = tuple(node.values())
    if isinstance(node, list | tuple):
        for part in node:
            yield from _nodes(part)


def _complete_choices(node: dict[str, Any], orders: Mapping[frozenset[Any], list[Any]]) -> None:
    """Give an ``enum`` the order of its Literal and its type: msgspec sorts and leaves it out."""
    values = node.get("enum")
    if isinstance(values, list):
        node["enum"] = list(orders.get(frozenset(values), values))
        kinds = {type(value) for value in values}
        node |= {"type": _TYPES[kinds.pop()]} if len(kinds) == 1 else {}


def _make_tuple_a_list(node: dict[str, Any]) -> None:
    """A tuple of equal parts as a list of that length; its parts would need ``items: false``,
    which generators for OpenAPI 3.0 refuse to read.
    """
    parts = node.get("prefixItems")
    if isinstance(parts, list) and parts and all(part == parts[0] for part in parts):
        del node["prefixItems"]
        node["items"] = parts[0]


def _name_large_integers(node: dict[str, Any]) -> None:
    if node.get("type") == "integer" and node.get("maximum", 0) > _INT32_MAX:
        node["format"] = "int64"


def _make_request(schema: dict[str, Any]) -> None:
    """A struct that clients send: null leaves a field out, and nothing is sent unasked.

    A generated client sends every ``default`` that it reads, which overrides the preset.
    """
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        if name in required:
            continue
        default = field.pop("default", None)
        applies = {} if default is None else {APPLIES: default}
        schema["properties"][name] = _or_null(name, {**field, **applies})


def _or_null(name: str, field: dict[str, Any]) -> dict[str, Any]:
    match field:
        case {"format": "binary"}:  # a file of a form: it is there, or its part is left out
            return {key: value for key, value in field.items() if key != "contentEncoding"}
        case {"enum": choices, "type": _, **rest}:  # no type, and a name for the generated enum
            return {"title": name, **rest, "enum": [*choices, None]}
        case {"anyOf": kinds}:
            return field if {"type": "null"} in kinds else field | {"anyOf": [*kinds, _null()]}
        case {"type": str(kind)}:
            return {**field, "type": [kind, "null"]}
        case {"$ref": reference, **rest}:
            return {**rest, "anyOf": [{"$ref": reference}, _null()]}
    return field  # any JSON


def _null() -> dict[str, Any]:
    return {"type": "null"}


def _in_form(field: Mapping[str, Any]) -> dict[str, Any]:
    """A field's schema as a form's, without null and without ``not``.

    Generators of requests cannot tell whether an object with a file in it satisfies a ``not``.
    """
    return {key: value for key, value in _without_null(field).items() if key != "not"}


def _without_null(field: Mapping[str, Any]) -> dict[str, Any]:
    """A field's schema as a parameter's: a query string has no null, only what is left out."""
    schema = dict(field)
    kinds = [kind for kind in schema.pop("anyOf", ()) if kind != _null()]
    if isinstance(schema.get("enum"), list):
        schema["enum"] = [value for value in schema["enum"] if value is not None]
    match schema.get("default", ...):
        case None:
            del schema["default"]
        case tuple(values):
            schema["default"] = list(values)
    return {**schema, **(kinds[0] if len(kinds) == 1 else {"anyOf": kinds} if kinds else {})}


def _literals(kind: Any, seen: set[Any]) -> Iterator[list[Any]]:
    """The values of every Literal in a type in the order of the source."""
    if get_origin(kind) is Literal:
        yield list(get_args(kind))
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind not in seen:
        seen.add(kind)
        for hint in get_type_hints(kind, include_extras=True).values():
            yield from _literals(hint, seen)
    for part in get_args(kind):
        yield from _literals(part, seen)


def _schema_of_other(kind: type) -> dict[str, Any]:
    """Of the types that msgspec does not know: ``object`` stands for any JSON."""
    if kind is object:
        return {"description": "Any JSON."}
    if issubclass(kind, StartTime | EndTime):
        return dict(_TIME)
    raise NotImplementedError(kind)
