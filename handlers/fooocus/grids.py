"""/v1/grids: an X/Y/Z grid as one group of tasks, and its labelled sheet."""

import asyncio
import math
from typing import Annotated, Final

import msgspec
from aiohttp import web
from msgspec import Meta

from handlers.http.body import read_json
from handlers.http.operation import Operation, Payload
from handlers.http.respond import delivery_to, json_response, own_urls
from handlers.keys import GALLERY, OUTPUTS
from handlers.service.images import RequestImages
from handlers.service_keys import SUBMISSIONS, TASKS
from pipeline.errors import InvalidParameter, PipelineError
from pipeline.images.grid_sheet import grid_sheet
from pipeline.request.decode import decoded_from
from pipeline.request.grids import CELLS_LIMIT, Axis, grid_requests
from storage.outputs import OutputStore

LABEL_LIMIT: Final = 200  # characters

Axes = Annotated[list[Axis], Meta(min_length=1, max_length=3, description="x, y and z.")]


class GridRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request and the axes along which it varies."""

    parameters: Annotated[dict[str, object], Meta(description="Fields of a generate request.")]
    axes: Axes


class Grid(msgspec.Struct, frozen=True, kw_only=True):
    """A grid's tasks, x fastest, then y, then z; and the labels of each axis."""

    task_ids: list[str]
    labels: list[list[str]]


class GridSheet(msgspec.Struct, frozen=True, kw_only=True):
    """What a sheet shows: the reply that the grid was queued with, or labels of one's own."""

    task_ids: Annotated[
        list[Annotated[str, Meta(max_length=255)]], Meta(min_length=1, max_length=CELLS_LIMIT)
    ]
    labels: Annotated[
        list[Annotated[list[Annotated[str, Meta(max_length=LABEL_LIMIT)]], Meta(max_length=50)]],
        Meta(min_length=1, max_length=3, description="Of x, y and z."),
    ]


@Operation(
    name="grid",
    tag="engine",
    summary="Queue a request with every combination of the values of one to three axes",
    description="All of it is checked before anything is queued; all cells share one seed.",
    body=Payload(type=GridRequest),
    reply=Payload(type=Grid),
    errors=(400, 401, 403, 404, 413, 415, 422, 429, 501, 503, 507),
)
async def queue_grid(request: web.Request) -> web.Response:
    """Queue a task for each cell. If one is refused, those before it are stopped."""
    body, headers = await read_json(request, GridRequest)
    cells = [decoded_from(cell) for cell in grid_requests(body.parameters, body.axes)]
    task_ids: list[str] = []
    try:
        for cell in cells:
            images = RequestImages(own_urls=own_urls(request))
            delivery = delivery_to(request, cell.delivery)
            ticket = await request.app[SUBMISSIONS].submit(cell, images, delivery)
            task_ids.append(ticket.task_id)
    except PipelineError:
        for task_id in task_ids:
            await request.app[TASKS].stop(task_id)
        raise
    labels = [[_label(axis, value) for value in axis.values] for axis in body.axes]
    return json_response(Grid(task_ids=task_ids, labels=labels), headers=headers)


@Operation(
    name="grid_sheet",
    tag="engine",
    summary="The pictures of a grid on one labelled sheet",
    description="The body is the reply that the grid was queued with. Cells without a picture stay"
    " empty, so a sheet can be had at any time.",
    body=Payload(type=GridSheet),
    reply=Payload(media_types=("image/png",)),
    errors=(400, 401, 403, 413, 422),
)
async def draw_grid(request: web.Request) -> web.Response:
    """Draw the sheet as it is by now."""
    body, headers = await read_json(request, GridSheet)
    if math.prod(map(len, body.labels)) > CELLS_LIMIT:
        raise InvalidParameter(("labels",), f"Expected at most {CELLS_LIMIT} cells in all")
    pictures = await request.app[GALLERY].pictures_of(body.task_ids)
    paths = [next(iter(each), None) for each in pictures]
    sheet = await asyncio.to_thread(_draw, request.app[OUTPUTS], body.labels, paths)
    return web.Response(body=sheet, content_type="image/png", headers=headers)


def _label(axis: Axis, value: object) -> str:
    text = ", ".join(value) if isinstance(value, list) else str(value)
    return f"{axis.field}: {text}"[:LABEL_LIMIT]


def _draw(outputs: OutputStore, labels: list[list[str]], paths: list[str | None]) -> bytes:
    def read(cell: int) -> bytes | None:
        path = paths[cell] if cell < len(paths) else None
        try:
            return None if path is None else outputs.read(path)
        except FileNotFoundError:  # deleted meanwhile
            return None

    return grid_sheet(labels, read)
