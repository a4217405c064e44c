"""The docs name everything there is: routes and event types."""

from pathlib import Path

from bus.events import EVENT_TYPES
from handlers.routes import create_routes

DOCS = Path(__file__).parents[2] / "docs"


def test_every_route_stands_in_the_api_docs() -> None:
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    paths = {route.path for route in create_routes()}
    shown = {path.replace("{path:.+}", "{path}") for path in paths}
    assert sorted(path for path in shown if f"{path}`" not in text and path + "?" not in text) == []


def test_every_event_type_stands_in_the_event_docs() -> None:
    text = (DOCS / "events.md").read_text(encoding="utf-8")
    missing = [kind.type for kind in EVENT_TYPES if f"`{kind.type}`" not in text]
    assert missing == []
