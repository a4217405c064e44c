"""The OpenAPI document against the routes, and its own references."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from aiohttp import hdrs

from handlers.http.operation import operation_of
from handlers.ops.openapi import build_document
from handlers.routes import create_router
from pipeline.errors import InvalidParameter
from pipeline.request.choices import PERFORMANCES, SAMPLER_NAMES
from pipeline.request.decode import decode_params
from pipeline.request.delivery import GenerateRequest
from tests.integration.serving import Focal

DOCUMENT: dict[str, Any] = build_document(create_router(), "1.2.3", "http://focal.example")


def described() -> set[tuple[str, str]]:
    return {
        (method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods
    }


def references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_every_route_stands_in_the_document_and_the_other_way_round() -> None:
    routes = {
        (route.method, route.resource.canonical): operation_of(route.handler)
        for route in create_router().routes()
        if route.resource is not None and route.method != hdrs.METH_HEAD
    }
    aliases = {key for key, operation in routes.items() if operation and operation.is_alias}
    assert described() == set(routes) - aliases
    assert {path.removeprefix("/api") for _, path in aliases} <= {path for _, path in described()}


def test_every_reference_leads_somewhere() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    for reference in references(DOCUMENT):
        assert reference.removeprefix("#/components/schemas/") in schemas


def test_operation_names_are_unique() -> None:
    names = [
        operation["operationId"]
        for methods in DOCUMENT["paths"].values()
        for operation in methods.values()
    ]
    assert len(names) == len(set(names))


def test_every_parameter_is_documented_with_its_range_and_default() -> None:
    fields = DOCUMENT["components"]["schemas"]["GenerateRequest"]["properties"]
    assert set(fields) == set(GenerateRequest.__struct_fields__)
    assert all(field.get("description") for field in fields.values())
    number = fields["image_number"]
    assert (number["minimum"], number["maximum"], number["x-default"]) == (1, 32, 1)


def test_choices_stand_in_the_order_in_which_people_know_them() -> None:
    fields = DOCUMENT["components"]["schemas"]["GenerateRequest"]["properties"]
    assert fields["performance_selection"]["enum"] == [*PERFORMANCES, None]
    assert fields["sampler_name"]["enum"] == [*SAMPLER_NAMES, None]
    assert fields["uov_method"]["enum"][:2] == ["Disabled", "Vary (Subtle)"]


def request_schemas() -> dict[str, Any]:
    """The structs that a client sends."""
    schemas: dict[str, Any] = DOCUMENT["components"]["schemas"]
    names = ("GenerateRequest", "Lora", "ControlNetImage", "EnhanceControl", "GenerateMask")
    return {name: schemas[name] for name in names}


def objects(node: object) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list):
        for part in node:
            yield from objects(part)


def test_a_generated_client_sends_nothing_that_its_user_did_not_set() -> None:
    for name, schema in request_schemas().items():
        assert [each for each in objects(schema) if "default" in each] == [], name


def test_every_field_that_may_be_left_out_may_be_null() -> None:
    validators = jsonschema_rs.validator_for
    for name, schema in request_schemas().items():
        for field, kind in schema["properties"].items():
            whole = {**kind, "components": DOCUMENT["components"]}
            assert field in schema.get("required", ()) or validators(whole).is_valid(None), name


def test_no_schema_is_a_truth_value() -> None:
    """Generators for OpenAPI 3.0 read an object wherever a schema stands."""
    kinds = ("items", "additionalProperties", "not", "schema")
    assert [x for x in objects(DOCUMENT) if any(isinstance(x.get(k), bool) for k in kinds)] == []


def test_pictures_are_binary() -> None:
    binary = {"type": "string", "format": "binary"}
    found = [
        media["schema"]
        for each in objects(DOCUMENT["paths"])
        for kind, media in each.get("content", {}).items()
        if kind.startswith("image/")
    ]
    assert len(found) > 8
    assert all(schema == binary for schema in found)


@pytest.mark.parametrize("path", ["/v1/engine/generate/", "/v1/engine/generate"])
def test_an_ended_task_without_a_picture_is_answered_with_its_record(path: str) -> None:
    responses = DOCUMENT["paths"][path]["post"]["responses"]
    assert "406" in responses
    for status in ("409", "500"):
        schema = responses[status]["content"]["application/json"]["schema"]
        assert {"$ref": "#/components/schemas/TaskRecord"} in schema["anyOf"]


@pytest.mark.parametrize(
    ("field", "taken", "refused"),
    [
        (
            "aspect_ratios_selection",
            ["64*2048", "1152\u00d7896", " 100 x 00200 "],
            ["63*64", "2049*64", "1*"],
        ),
        ("overwrite_width", [-1, 0, 64, 2048], [1, 63, 2049, -2]),
        ("overwrite_vary_strength", [-1, 0, 0.5, 1], [-0.5, 1.5, -2]),
        ("webhook_url", ["", "https://a.example/b", "HTTP://a"], ["ftp://a", "http://", "a"]),
        ("image_seed", [-1, 2**63 - 1], [-2, 2**63]),
    ],
)
def test_the_document_allows_what_the_server_takes(
    field: str, taken: list[Any], refused: list[Any]
) -> None:
    schema = DOCUMENT["components"]["schemas"]["GenerateRequest"]["properties"][field]
    validator = jsonschema_rs.validator_for(schema)
    for value in taken:
        assert validator.is_valid(value), value
        decode_params(json.dumps({field: value}).encode())
    for value in refused:
        assert not validator.is_valid(value), value
        with pytest.raises((InvalidParameter, msgspec.ValidationError)):
            decode_params(json.dumps({field: value}).encode())


def test_the_examples_are_requests_that_decode() -> None:
    body = DOCUMENT["paths"]["/v1/engine/generate/"]["post"]["requestBody"]
    examples = body["content"]["application/json"]["examples"]
    assert examples
    for example in examples.values():
        assert decode_params(json.dumps(example["value"]).encode()).ignored == ()


async def test_the_document_is_served_with_the_servers_own_address(focal: Focal) -> None:
    document = await focal.get("/openapi.json")
    assert document["openapi"].startswith("3.1")
    assert document["servers"] == [{"url": focal.url}]
    assert document["paths"] == DOCUMENT["paths"]
