"""/view and /upload/image: pictures by file name and folder."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from aiohttp import hdrs, web
from msgspec import Meta

from handlers.comfyui.describe import describe
from handlers.http.form import read_form
from handlers.http.operation import IMAGE_TYPES, Payload
from handlers.http.ranges import StoredFile
from handlers.http.refusal import RequestRefused
from handlers.http.respond import derived_response, json_response
from handlers.keys import INPUTS, OUTPUTS
from handlers.service.decoding import COPIES
from handlers.service.errors import NotFound
from handlers.service_keys import DECODING, IMAGES
from pipeline.images.encode import MIME_TYPES, convert
from pipeline.images.read import READABLE_MIME_TYPES
from pipeline.request.choices import OutputFormat

_CACHE: Final = "private, max-age=31536000, immutable"  # as of /outputs
_DAY_CHARS: Final = len("2026-11-28")
_FORM: Final[dict[str, object]] = {
    "title": "UploadForm",
    "type": "object",
    "properties": {"image": {"type": "string", "format": "binary"}},
    "required": ["image"],
}


class ViewQuery(msgspec.Struct, kw_only=True):
    """The query of GET /view."""

    filename: Annotated[str, Meta(description="Name of the picture's file.")]
    subfolder: Annotated[
        str, Meta(description="The day of a finished picture; its name tells it too.")
    ] = ""
    type: Annotated[
        Literal["output", "input", "temp"],
        Meta(description="A finished picture or one that was sent; there are no others."),
    ] = "output"
    preview: Annotated[
        str, Meta(description="webp or jpeg converts it; a quality behind it has no effect.")
    ] = ""
    channel: Annotated[
        Literal["", "rgba", "rgb", "a"], Meta(description="a, the mask alone, is refused.")
    ] = ""


class Uploaded(msgspec.Struct, frozen=True, kw_only=True):
    """Where the picture lies, as ``GET /view`` takes it. The name is made from its bytes."""

    name: str
    subfolder: str = ""
    type: str = "input"


@describe(
    name="comfyui_view",
    summary="A picture by its file name and folder",
    reply=Payload(media_types=IMAGE_TYPES),
    errors=(401, 403, 404, 415, 422, 501),
    takes_token=True,
    is_linked=True,
)
async def view(request: web.Request, query: ViewQuery) -> web.StreamResponse:
    """A finished picture or one that was sent with a request."""
    if query.channel == "a":
        raise RequestRefused(501, "not_implemented", "channel: pictures have no alpha here")
    path = await asyncio.to_thread(_find, request.app, query)
    if path is None:
        raise NotFound("there is no such picture")
    stored = READABLE_MIME_TYPES[path.suffix.removeprefix(".").lower()]
    wanted = _preview_format(query.preview)
    if wanted is None or MIME_TYPES[wanted] == stored:
        return StoredFile(path, headers=_headers(stored, path.name))

    async def make(data: bytes) -> bytes:
        converted = partial(convert, data, wanted)
        return await request.app[DECODING].run(converted, data, copies=COPIES, shown=True)

    headers = _headers(MIME_TYPES[wanted], path.with_suffix(f".{wanted}").name)
    return await derived_response(request, path, wanted, make, headers)


@describe(
    name="comfyui_upload_image",
    summary="Store a picture for later requests",
    description="Its folder and name are this server's: the same bytes are stored once.",
    body=Payload(schemas={"multipart/form-data": _FORM}),
    reply=Payload(type=Uploaded),
    errors=(400, 401, 403, 413, 415, 422, 503, 507),
)
async def upload_image(request: web.Request) -> web.Response:
    """Check and store the file of the form's field ``image``. Idempotent."""
    form = await read_form(request)
    stored = await request.app[IMAGES].store(("image",), form.file("image"))
    return json_response(Uploaded(name=stored.path.removeprefix("/inputs/")))


def _find(app: web.Application, query: ViewQuery) -> Path | None:
    if query.type == "output":
        # Clients that know one folder only leave it out; a picture's name begins with its day.
        day = query.subfolder or query.filename[:_DAY_CHARS]
        return app[OUTPUTS].resolve(day, query.filename)
    if query.type == "input" and not query.subfolder:
        return app[INPUTS].resolve(query.filename)
    return None


def _preview_format(preview: str) -> OutputFormat | None:
    """ComfyUI takes webp for every name it does not know."""
    if not preview:
        return None
    return "jpeg" if preview.partition(";")[0] == "jpeg" else "webp"


def _headers(content_type: str, name: str) -> dict[str, str]:
    return {
        hdrs.CACHE_CONTROL: _CACHE,
        hdrs.CONTENT_TYPE: content_type,
        hdrs.CONTENT_DISPOSITION: f'inline; filename="{name}"',
    }
