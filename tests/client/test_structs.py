"""The client's structs are those of the OpenAPI document."""

from tools.write_client import TARGET, client_structs


def test_the_structs_are_current() -> None:
    assert TARGET.read_text("utf-8") == client_structs(), "run python -m tools.write_client"
