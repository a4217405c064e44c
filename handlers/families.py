"""The APIs of other servers that this one serves beside its own, by the names of ``--apis``."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from aiohttp import web

from handlers.a1111.routes import routes as a1111
from handlers.comfyui.describe import FAMILY as COMFYUI
from handlers.comfyui.routes import routes as comfyui
from handlers.fooocus_api.routes import routes as fooocus_api
from handlers.openai.routes import routes as openai

FAMILIES: Final[Mapping[str, Callable[[], list[web.RouteDef]]]] = {
    "fooocus-api": fooocus_api,
    "openai": openai,
    "a1111": a1111,
    COMFYUI: comfyui,
}
ALL: Final = tuple(FAMILIES)


def chosen_families(option: str) -> tuple[str, ...]:
    """The families that ``--apis`` names: ``all``, ``none``, or names with commas.

    Raises ValueError for an unknown name.
    """
    names = [name for part in option.split(",") if (name := part.strip().lower())]
    if names in (["all"], ["none"]):
        return ALL if names == ["all"] else ()
    if unknown := [name for name in names if name not in FAMILIES]:
        known = ", ".join(("all", "none", *ALL))
        raise ValueError(f"--apis: there is no {unknown[0]!r}; known are {known}")
    return tuple(name for name in ALL if name in names)


def family_routes(names: Iterable[str]) -> list[web.RouteDef]:
    """The routes of these families."""
    return [route for name in names for route in FAMILIES[name]()]
