"""The OpenAPI document against the routes, and its own references."""

import json
from collections.abc import Iterator
from typing import Any

from aiohttp import hdrs

from handlers.ops.openapi import build_document
from handlers.routes import create_router
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
    served = {
        (route.method, route.resource.canonical)
        for route in create_router().routes()
        if route.resource is not None and route.method != hdrs.METH_HEAD
    }
    assert described() == served


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
    assert (number["minimum"], number["maximum"], number["default"]) == (1, 32, 1)


def test_choices_stand_in_the_order_in_which_people_know_them() -> None:
    fields = DOCUMENT["components"]["schemas"]["GenerateRequest"]["properties"]
    assert fields["performance_selection"]["enum"] == list(PERFORMANCES)
    assert fields["sampler_name"]["enum"] == list(SAMPLER_NAMES)
    assert fields["uov_method"]["enum"][:2] == ["Disabled", "Vary (Subtle)"]


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
