"""The APIs of other servers that this one serves beside its own, by the names of ``--apis``."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec
from aiohttp import web
from msgspec import UNSET

from handlers.a1111.routes import routes as a1111
from handlers.comfyui.describe import FAMILY as COMFYUI
from handlers.comfyui.routes import routes as comfyui
from handlers.fooocus_api.routes import routes as fooocus_api
from handlers.fooocus_api.webhook import ended_job
from handlers.openai.routes import routes as openai
from storage.records import TaskRecord, encode_record

FAMILIES: Final[Mapping[str, Callable[[], list[web.RouteDef]]]] = {
    "fooocus-api": fooocus_api,
    "openai": openai,
    "a1111": a1111,
    COMFYUI: comfyui,
}
ALL: Final = tuple(FAMILIES)
# What a webhook says, where its family has a form of its own for that.
_WEBHOOKS: Final[Mapping[str, Callable[[TaskRecord], msgspec.Struct]]] = {"fooocus-api": ended_job}


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


def webhook_body(record: TaskRecord) -> bytes:
    """The body of an ended task's webhook, in the form of the family that asked for it.

    The server-wide webhook gets records, whichever family took the request.
    """
    family = "" if record.family is UNSET else record.family
    form = _WEBHOOKS.get(family)
    if form is None or not record.req_params.get("webhook_url"):
        return encode_record(record)
    return msgspec.json.encode(form(record))
