"""GET /v1/models/source: where a model file comes from, and its size, before a task fetches it."""

import asyncio
from typing import Annotated, Final, Literal

import msgspec
from aiohttp import web
from msgspec import Meta

from handlers.http.operation import Operation, Payload
from handlers.http.respond import json_response
from handlers.keys import MODEL_FILES
from handlers.service.errors import NotFound
from pipeline.files.catalog import CHECKPOINTS
from pipeline.files.hub import shown
from pipeline.files.locate import ModelFiles
from pipeline.files.remote_size import remote_size
from pipeline.request.choices import EMBEDDED

Folder = Literal["checkpoints", "loras", "vae", "embeddings"]
_LONGEST: Final = 512


class SourceQuery(msgspec.Struct, kw_only=True):
    """The query of a model file's source."""

    name: Annotated[str, Meta(max_length=_LONGEST, description="As requests name the file.")]
    folder: Annotated[Folder, Meta(description="Below the models folder.")] = CHECKPOINTS


class ModelSource(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a model file is here, and what a task that names it would fetch."""

    name: str
    installed: bool
    url: Annotated[str, Meta(description="Where it is fetched from; empty if installed.")] = ""
    bytes: Annotated[int, Meta(description="Size of the download; 0 where nobody tells.")] = 0
    allowed: Annotated[bool, Meta(description="Whether this server fetches model files.")] = True


@Operation(
    name="model_source",
    tag="engine",
    summary="Where a model file comes from and its size, before a task fetches it",
    reply=Payload(type=ModelSource),
    errors=(401, 403, 404, 422),
)
async def model_source(request: web.Request, query: SourceQuery) -> web.Response:
    """Ask the sender for the size, which may take seconds. NotFound for an unknown name."""
    files = request.app[MODEL_FILES]
    source = await asyncio.to_thread(_source, files, query.folder, query.name)
    if source is None:
        raise NotFound("neither installed nor named by a preset")
    return json_response(source, headers={"Cache-Control": "no-store"})


def _source(files: ModelFiles, folder: Folder, name: str) -> ModelSource | None:
    is_built_in = folder == CHECKPOINTS and name == EMBEDDED
    if is_built_in or files.catalog.has(folder, name):
        return ModelSource(name=name, installed=True, allowed=files.allowed)
    file = files.find(folder, name)
    if file is None:
        return None
    size = remote_size(file.url) if files.allowed else 0
    return ModelSource(
        name=name, installed=False, url=shown(file.url), bytes=size, allowed=files.allowed
    )
