"""Model files and styles that a request may name, listed from disk at each request."""

import asyncio

from aiohttp import web

from handlers.fooocus.schemas import AllModels
from handlers.http.operation import Operation, Payload
from handlers.http.respond import json_response
from handlers.keys import CATALOG, STYLES


@Operation(
    name="all_models",
    tag="engine",
    summary="Checkpoints and LoRAs on disk now",
    reply=Payload(type=AllModels),
)
async def all_models(request: web.Request) -> web.Response:
    """Checkpoints and LoRAs by the names that requests use."""
    catalog = request.app[CATALOG]
    models = AllModels(
        model_filenames=await asyncio.to_thread(catalog.checkpoints),
        lora_filenames=await asyncio.to_thread(catalog.loras),
    )
    return json_response(models)


@Operation(name="styles", tag="engine", summary="Every style name", reply=Payload(type=list[str]))
async def styles(request: web.Request) -> web.Response:
    """Every style that ``style_selections`` may hold."""
    return json_response(await asyncio.to_thread(request.app[STYLES].names))
