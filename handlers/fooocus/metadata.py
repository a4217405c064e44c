"""POST /v1/tools/read-metadata: from an image file back to the request that made it."""

from collections.abc import Sequence
from functools import partial

from aiohttp import web

from handlers.fooocus.schemas import PictureMetadata, ReadMetadata
from handlers.http.body import read_json
from handlers.http.operation import Operation, Payload
from handlers.http.respond import json_response, own_urls
from handlers.keys import CATALOG, HASHES, STYLES
from handlers.service.images import RequestImages
from handlers.service_keys import DECODING, IMAGES
from pipeline.files.catalog import CHECKPOINTS, LORAS
from pipeline.images.encode import MIME_TYPES
from pipeline.images.read import look_at
from pipeline.metadata.model_names import ModelNames, namesakes
from pipeline.metadata.read import MAX_CHARS, read_parameters


@Operation(
    name="read_metadata",
    tag="tools",
    summary="Read from a picture the request that makes it again",
    description=(
        "Reads the parameters in PNG, JPEG and WebP files of this server, Fooocus and its forks,"
        " A1111, SwarmUI, InvokeAI, NovelAI and ComfyUI, as far as a request has such fields;"
        " `unread` names the rest. A picture without any is answered too, with a `scheme` of null."
    ),
    body=Payload(type=ReadMetadata),
    reply=Payload(type=PictureMetadata),
    errors=(400, 401, 403, 404, 413, 415, 422, 501),
)
async def picture_metadata(request: web.Request) -> web.Response:
    """The generation parameters in a picture's metadata. A picture without any is answered too."""
    body, headers = await read_json(request, ReadMetadata)
    images = RequestImages(own_urls=own_urls(request))
    data = await request.app[IMAGES].read(("image",), body.image, images)
    metadata = await request.app[DECODING].run(partial(_read, request.app, data), data)
    return json_response(metadata, headers=headers)


def _read(app: web.Application, data: bytes) -> PictureMetadata:
    """Decodes the picture and lists model files: not for the event loop."""
    facts = look_at(data)
    text = facts.text.parameters if facts.text else ""
    reading = read_parameters(text, _installed(app), app[STYLES].templates())
    parameters = reading.parameters
    if reading.scheme:
        # Without scheme and file format, the bytes of a repeat would differ.
        parameters |= {"metadata_scheme": reading.scheme, "save_metadata_to_images": True}
        if facts.format in MIME_TYPES:
            parameters["output_format"] = facts.format
    return PictureMetadata(
        scheme=reading.scheme,
        parameters=parameters,
        text=text[:MAX_CHARS],
        width=facts.width,
        height=facts.height,
        format=facts.format,
        program=reading.program,
        program_version=reading.version,
        unread=reading.unread,
    )


def _installed(app: web.Application) -> ModelNames:
    """The model files, with hashes of those that names alone do not tell apart."""
    catalog, cache = app[CATALOG], app[HASHES]

    def hashes(folder: str, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
        known = {name: cache.known(folder, name) for name in namesakes(names)}
        return {name: (each.sha256, each.tensors) for name, each in known.items() if each}

    checkpoints, loras = catalog.checkpoints(), catalog.loras()
    return ModelNames(
        checkpoints,
        loras,
        catalog.vaes(),
        hashes(CHECKPOINTS, checkpoints),
        hashes(LORAS, loras),
    )
