"""POST /inputs: a picture is stored once, and requests name its path."""

from typing import Annotated, Final

import msgspec
from aiohttp import web
from msgspec import Meta

from handlers.http.body import read_body
from handlers.http.form import MULTIPART_FORM, read_form
from handlers.http.operation import Operation, Payload
from handlers.http.refusal import wrong_field
from handlers.http.respond import base_url, json_response
from handlers.service_keys import IMAGES

_PICTURE: Final[dict[str, object]] = {"type": "string", "format": "binary"}
_FORM: Final[dict[str, object]] = {
    "type": "object",
    "properties": {"image": {**_PICTURE, "description": "The picture file."}},
    "required": ["image"],
}


class StoredInput(msgspec.Struct, frozen=True, kw_only=True):
    """A stored picture. The same bytes always have the same path."""

    path: Annotated[str, Meta(description="For any image field of a request.")]
    url: Annotated[str, Meta(description="The path with this server's address.")]
    width: Annotated[int, Meta(description="Pixels, as stored.")]
    height: Annotated[int, Meta(description="Pixels, as stored.")]
    format: Annotated[str, Meta(description="png, jpeg, webp, bmp or gif.")]


@Operation(
    name="store_input",
    tag="pictures",
    summary="Store a picture once; requests name its path instead of carrying it",
    description=(
        "The body is a form with one file, or the bytes of the file themselves under any other"
        " Content-Type. The same bytes are stored once."
    ),
    # The form alone: openapi-python-client 0.29.1 writes a module that cannot be imported for two.
    body=Payload(schemas={"multipart/form-data": _FORM}),
    reply=Payload(type=StoredInput),
    errors=(400, 401, 403, 413, 415, 422, 503, 507),
)
async def store_input(request: web.Request) -> web.Response:
    """Check and store the picture in the body. Idempotent."""
    images = request.app[IMAGES]
    data = await _file_in_form(request) if _is_form(request) else await read_body(request)
    stored = await images.store(("image",), data)
    reply = StoredInput(
        path=stored.path,
        url=base_url(request) + stored.path,
        width=stored.width,
        height=stored.height,
        format=stored.format,
    )
    return json_response(reply)


def _is_form(request: web.Request) -> bool:
    """curl and urllib call bytes a URL-encoded form unless told otherwise, so that is none here."""
    return request.content_type == MULTIPART_FORM


async def _file_in_form(request: web.Request) -> bytes:
    """The one file of the form, whatever its field is called."""
    form = await read_form(request)
    files = [data for several in form.files.values() for data in several]
    if len(files) != 1:
        raise wrong_field("image", f"Expected one file, got {len(files)}")
    return files[0]
