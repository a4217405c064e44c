"""``--apis``: which other servers' APIs are served beside our own."""

from pathlib import Path

import pytest

from handlers.families import ALL, chosen_families, family_routes
from handlers.http.operation import operation_of
from tests.integration.serving import serve

PING = "/ping"


@pytest.mark.parametrize(
    ("option", "names"),
    [
        ("all", ALL),
        ("none", ()),
        ("fooocus-api", ("fooocus-api",)),
        (" Fooocus-API , ", ("fooocus-api",)),
        (",".join(reversed(ALL)), ALL),
    ],
)
def test_the_option_names_families(option: str, names: tuple[str, ...]) -> None:
    assert chosen_families(option) == names


@pytest.mark.parametrize("option", ["gradio", "fooocus-api,gradio", "all,none"])
def test_an_unknown_name_ends_the_start_and_the_known_ones_are_listed(option: str) -> None:
    with pytest.raises(ValueError, match="known are all, none, fooocus-api"):
        chosen_families(option)


async def test_a_family_that_is_off_is_neither_served_nor_described(tmp_path: Path) -> None:
    async with serve(tmp_path / "on") as focal:
        assert await focal.get(PING) == "pong"
        assert PING in (await focal.get("/openapi.json"))["paths"]
    async with serve(tmp_path / "off", apis="none") as focal:
        await focal.get(PING, status=404)
        assert PING not in (await focal.get("/openapi.json"))["paths"]


def test_every_family_s_operations_have_a_tag_of_their_own() -> None:
    for name in ALL:
        for route in family_routes([name]):
            operation = operation_of(route.handler)
            assert operation is not None
            assert (operation.tag, operation.family) == (name, name)
            assert operation.error_body is not None
