"""/v1/models: everything a request may name, what is loaded, its memory; and unloading it."""

import asyncio

import msgspec
from aiohttp import web

from handlers.http.operation import Operation, Payload
from handlers.http.respond import json_response
from handlers.keys import CATALOG, EXECUTOR, PRESETS, STYLES, WILDCARDS
from handlers.service.models import ModelOverview, describe_models


class Unloaded(msgspec.Struct, frozen=True):
    """The models that were loaded until now; none where there was nothing to unload."""

    message: str
    models: tuple[str, ...]


@Operation(
    name="models",
    tag="engine",
    summary="What a request may name: model files, styles, presets; what is loaded; memory",
    reply=Payload(type=ModelOverview),
)
async def models(request: web.Request) -> web.Response:
    """Model files with their sizes, styles, presets, what is loaded, and memory."""
    app = request.app
    overview = await asyncio.to_thread(
        describe_models,
        *(app[CATALOG], app[PRESETS], app[STYLES], app[WILDCARDS]),
        app[EXECUTOR].loaded(),
    )
    return json_response(overview, headers={"Cache-Control": "no-store"})


@Operation(
    name="unload",
    tag="engine",
    summary="Give the memory of every loaded model back; the next task loads again",
    reply=Payload(type=Unloaded),
    errors=(401, 403, 503),
)
async def unload(request: web.Request) -> web.Response:
    """Unload every model between two tasks: a running one ends first. Idempotent."""
    models = await request.app[EXECUTOR].unload()
    message = f"Unloaded {', '.join(models)}" if models else "No model was loaded"
    return json_response(Unloaded(message, models))
