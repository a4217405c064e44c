"""Component schemas of the OpenAPI document where two modules have structs of one name."""

import pytest
from msgspec import Struct, defstruct

from handlers.http.operation import Operation, Payload
from handlers.ops.schemas import APPLIES, Schemas


def namesakes() -> list[type[Struct]]:
    """Two structs of one name, from two modules."""
    return [
        defstruct("Page", [(field, int, default)], module=f"handlers.{module}")
        for module, field, default in (("images", "offset", 0), ("jobs", "page", 1))
    ]


def operation(number: int, **parts: object) -> Operation:
    return Operation(name=f"list_{number}", tag="server", summary="A list", **parts)  # type: ignore[arg-type]


def test_two_queries_of_one_name_are_described_each_by_its_own_fields() -> None:
    images, jobs = namesakes()
    schemas = Schemas([operation(1, query=images), operation(2, query=jobs)])
    assert [field["name"] for field in schemas.parameters(images)] == ["offset"]
    assert [field["name"] for field in schemas.parameters(jobs)] == ["page"]
    assert not [name for name in schemas.components if name.endswith("Page")]


@pytest.mark.parametrize("kind", ["type", "form"])
def test_two_bodies_of_one_name_are_components_of_their_own(kind: str) -> None:
    bodies = namesakes()
    schemas = Schemas(
        operation(number, body=Payload(**{kind: body}))  # type: ignore[arg-type]
        for number, body in enumerate(bodies)
    )
    names = [schemas.of(body)["$ref"].removeprefix("#/components/schemas/") for body in bodies]
    fields = [schemas.components[name]["properties"] for name in names]
    assert [list(each) for each in fields] == [["offset"], ["page"]]
    if kind == "type":  # a request's default is not sent unasked
        assert [each.popitem()[1][APPLIES] for each in fields] == [0, 1]


def test_a_query_and_a_reply_of_one_name_stand_beside_each_other() -> None:
    query, reply = namesakes()
    schemas = Schemas([operation(1, query=query, reply=Payload(type=reply))])
    name = schemas.of(reply)["$ref"].removeprefix("#/components/schemas/")
    assert list(schemas.components[name]["properties"]) == ["page"]
    assert [field["name"] for field in schemas.parameters(query)] == ["offset"]
