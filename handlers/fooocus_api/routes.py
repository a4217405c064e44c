"""The family's paths. Those that are the same in our own API stand there."""

from aiohttp import web

from handlers.fooocus_api.engines import clean_vram, file, ping, refresh_models


def routes() -> list[web.RouteDef]:
    """Every route of the family."""
    return [
        web.get("/ping", ping),
        web.post("/v1/engines/refresh-models", refresh_models),
        web.get("/v1/engines/clean_vram", clean_vram, allow_head=False),
        web.get("/files/{date}/{file}", file),
    ]
