"""The family's small endpoints: a sign of life, model names, memory, files."""

import asyncio

from aiohttp import hdrs, web

from handlers.fooocus_api.describe import describe
from handlers.fooocus_api.schemas import Message, ModelNames
from handlers.http.operation import Payload
from handlers.http.respond import json_response
from handlers.http.same_site import check_change
from handlers.keys import CATALOG, EXECUTOR


@describe(name="fooocus_api_ping", summary="A sign of life: pong", reply=Payload(type=str))
async def ping(_request: web.Request) -> web.Response:
    """Answered while the server runs."""
    return json_response("pong")


@describe(
    name="fooocus_api_refresh_models",
    summary="Checkpoints and LoRAs, read from disk anew",
    reply=Payload(type=ModelNames),
)
async def refresh_models(request: web.Request) -> web.Response:
    """As ``/v1/engines/all-models``, which reads the folders at each request as well."""
    catalog = request.app[CATALOG]
    names = ModelNames(
        model_filenames=await asyncio.to_thread(catalog.checkpoints),
        lora_filenames=await asyncio.to_thread(catalog.loras),
    )
    return json_response(names)


@describe(
    name="fooocus_api_clean_vram",
    summary="Give the memory of every loaded model back",
    reply=Payload(type=Message),
    errors=(401, 403, 503),
)
async def clean_vram(request: web.Request) -> web.Response:
    """Unload every model between two tasks. A GET that changes something, so pages are checked."""
    check_change(request)
    await request.app[EXECUTOR].unload()
    return json_response(Message("ok"))


@describe(
    name="fooocus_api_file",
    summary="A finished picture by its path of Fooocus-API; leads to /outputs",
    status=308,
    errors=(401, 403),
)
async def file(request: web.Request) -> web.Response:
    """The address is relative: a proxy may serve this under a prefix that is not known here."""
    # Quoted as it came: a decoded control character would break the header.
    date, name = request.rel_url.raw_path.rsplit("/", 2)[1:]
    location = f"../../outputs/{date}/{name}"
    query = request.rel_url.raw_query_string
    headers = {hdrs.LOCATION: f"{location}?{query}" if query else location}
    return web.Response(status=308, headers=headers)
