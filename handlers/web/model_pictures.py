"""GET /v1/models/picture: the picture that lies beside a model file."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from aiohttp import hdrs, web
from msgspec import Meta

from handlers.http.files import file_response
from handlers.http.operation import IMAGE_TYPES, Operation, Payload
from handlers.http.ranges import FILE_ERRORS
from handlers.keys import CATALOG
from handlers.service.errors import NotFound
from pipeline.files.catalog import CHECKPOINTS, ModelCatalog
from pipeline.files.model_pictures import picture_beside
from pipeline.images.read import READABLE_MIME_TYPES

Folder = Literal["checkpoints", "loras", "vae", "embeddings", "upscale_models"]


class PictureQuery(msgspec.Struct, kw_only=True):
    """The query of a model's picture."""

    name: Annotated[str, Meta(max_length=512, description="As requests name the file.")]
    folder: Annotated[Folder, Meta(description="Below the models folder.")] = CHECKPOINTS


@Operation(
    name="model_picture",
    tag="engine",
    summary="The picture beside a model file, such as name.png beside name.safetensors",
    reply=Payload(media_types=IMAGE_TYPES),
    errors=(401, 403, *FILE_ERRORS, 422),
    takes_token=True,
)
async def model_picture(request: web.Request, query: PictureQuery) -> web.StreamResponse:
    """The picture as it lies there."""
    find = partial(_find, request.app[CATALOG], query.folder, query.name)
    path = await asyncio.to_thread(find)
    if path is None:
        raise NotFound("there is no picture beside this model")
    kind = READABLE_MIME_TYPES[path.suffix.removeprefix(".").lower()]
    headers = {hdrs.CONTENT_TYPE: kind, hdrs.CACHE_CONTROL: "private, no-cache"}
    response = await file_response(request, lambda: path, headers)
    if response is None:
        raise NotFound("there is no picture beside this model")
    return response


def _find(catalog: ModelCatalog, folder: Folder, name: str) -> Path | None:
    return picture_beside(catalog.models_dir / folder / name) if catalog.has(folder, name) else None
