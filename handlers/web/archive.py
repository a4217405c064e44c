"""POST /v1/history/zip: pictures of the history as one file, streamed."""

import itertools
import time
from typing import Annotated, Final

import msgspec
from aiohttp import hdrs, web
from msgspec import Meta

from handlers.http.body import read_json
from handlers.http.form import URL_ENCODED_FORM, read_form
from handlers.http.operation import Operation, Payload
from handlers.keys import GALLERY, OUTPUTS
from handlers.service.archive import archive_of
from handlers.service.errors import NotFound

PICTURES_LIMIT: Final = 10_000

Texts = Annotated[tuple[Annotated[str, Meta(max_length=255)], ...], Meta(max_length=PICTURES_LIMIT)]


class ZipRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Which pictures: all those of tasks, and single ones."""

    task_ids: Texts = ()
    pictures: Annotated[Texts, Meta(description="Paths such as /outputs/2026-11-23/name.png.")] = ()


@Operation(
    name="history_zip",
    tag="history",
    summary="Pictures of ended tasks as one zip file, sent as it is read",
    description=(
        "Names inside are day/file. Ids and paths of no picture are left out. A page sends the same"
        " fields as a form, values with commas between them."
    ),
    body=Payload(type=ZipRequest),
    reply=Payload(media_types=("application/zip",)),
    errors=(400, 401, 403, 404, 413, 422),
)
async def history_zip(request: web.Request) -> web.StreamResponse:
    """Stream a zip of the pictures; 404 where none of them is there."""
    wanted, headers = await _wanted(request)
    of_tasks = await request.app[GALLERY].pictures_of(wanted.task_ids)
    paths = itertools.chain(wanted.pictures, *of_tasks)
    archive = await archive_of(request.app[OUTPUTS], paths)
    if archive is None:
        raise NotFound("none of these pictures is there")
    name = time.strftime("focal-%Y-%m-%d-%H%M%S.zip")
    response = web.StreamResponse(
        headers={
            **headers,
            hdrs.CONTENT_TYPE: "application/zip",
            hdrs.CONTENT_DISPOSITION: f'attachment; filename="{name}"',
            hdrs.CACHE_CONTROL: "no-store",
        }
    )
    response.content_length = archive.size
    await response.prepare(request)
    async for piece in archive.pieces:
        await response.write(piece)
    await response.write_eof()
    return response


async def _wanted(request: web.Request) -> tuple[ZipRequest, dict[str, str]]:
    """The body, and the reply header that names its unknown fields."""
    if request.content_type != URL_ENCODED_FORM:
        return await read_json(request, ZipRequest)
    form = await read_form(request)
    fields = {
        name: [part for value in form.fields.get(name, ()) for part in value.split(",") if part]
        for name in ZipRequest.__struct_fields__
    }
    return msgspec.convert(fields, ZipRequest), {}
