"""The family's paths. Its list of models is our own ``/v1/models``, which serves both."""

from aiohttp import web

from handlers.openai.generate import edits, generations, variations
from handlers.openai.models import model


def routes() -> list[web.RouteDef]:
    """Every route of the family."""
    return [
        web.post("/v1/images/generations", generations),
        web.post("/v1/images/edits", edits),
        web.post("/v1/images/variations", variations),
        web.get("/v1/models/{model:.+}", model),
    ]
