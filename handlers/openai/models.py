"""GET /v1/models/{model}: one model of the list that ``/v1/models`` gives."""

import asyncio

from aiohttp import web

from handlers.http.operation import Payload
from handlers.http.respond import json_response
from handlers.keys import CATALOG
from handlers.openai.describe import describe
from handlers.service.errors import NotFound
from handlers.service.models import ListedModel, listed_models


@describe(
    name="openai_model",
    summary="One checkpoint",
    reply=Payload(type=ListedModel),
    errors=(401, 403, 404),
)
async def model(request: web.Request) -> web.Response:
    """A checkpoint by its name, which may have slashes."""
    name = request.match_info["model"]
    for each in await asyncio.to_thread(listed_models, request.app[CATALOG]):
        if each.id == name:
            return json_response(each)
    raise NotFound(f"there is no model {name[:200]!r}; GET /v1/models lists them")
