"""/v1/models/downloads: model files fetched ahead of any task."""

from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from handlers.http.body import read_json
from handlers.http.operation import Operation, Payload
from handlers.http.respond import json_response
from handlers.service.downloads import DownloadView
from handlers.service_keys import DOWNLOADS
from pipeline.files.catalog import CHECKPOINTS


class DownloadRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A model file that a preset or the list of published files names."""

    name: Annotated[str, Meta(max_length=512, description="As requests name the file.")]
    folder: Annotated[str, Meta(max_length=200, description="Below the models folder.")] = (
        CHECKPOINTS
    )


class DownloadList(msgspec.Struct, frozen=True):
    """The downloads since the server's start."""

    downloads: list[DownloadView]


@Operation(
    name="downloads",
    tag="engine",
    summary="The model files that are being fetched ahead of a task, paused or failed",
    reply=Payload(type=DownloadList),
)
async def list_downloads(request: web.Request) -> web.Response:
    """Every download since the server's start."""
    return _downloads(request)


@Operation(
    name="start_download",
    tag="engine",
    summary="Fetch a model file, or go on with one that was paused or failed",
    description="The event download.progress tells how far it is. The file is checked as it ends.",
    body=Payload(type=DownloadRequest),
    reply=Payload(type=DownloadList),
    errors=(400, 401, 403, 404, 413, 422, 503),
)
async def start_download(request: web.Request) -> web.Response:
    """Begin or go on with a download. Idempotent."""
    body, headers = await read_json(request, DownloadRequest)
    await request.app[DOWNLOADS].start(body.folder, body.name)
    return _downloads(request, headers)


@Operation(
    name="pause_download",
    tag="engine",
    summary="Pause a download; what has come is kept",
    body=Payload(type=DownloadRequest),
    reply=Payload(type=DownloadList),
    errors=(400, 401, 403, 404, 413, 422),
)
async def pause_download(request: web.Request) -> web.Response:
    """Pause a download. Idempotent."""
    body, headers = await read_json(request, DownloadRequest)
    request.app[DOWNLOADS].pause(body.folder, body.name)
    return _downloads(request, headers)


def _downloads(request: web.Request, headers: dict[str, str] | None = None) -> web.Response:
    listed = DownloadList(request.app[DOWNLOADS].all())
    return json_response(listed, headers={"Cache-Control": "no-store", **(headers or {})})
