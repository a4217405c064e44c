"""Replies of the family: the pictures of a task at its end, or a stream of events."""

import asyncio
import base64
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, Literal

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from bus.events import TERMINAL, EventData, TaskPreview, TaskProgress
from handlers.http.errors import STATUS_OF, refusal_of
from handlers.http.refusal import RequestRefused
from handlers.http.respond import json_response
from handlers.http.sse import batches, sse_response
from handlers.openai.describe import fault_of
from handlers.openai.schemas import CompletedEvent, ImageData, Images, PartialEvent
from handlers.service.records import picture_seed
from handlers.service.submit import Ticket
from handlers.service.tasks import Tasks
from handlers.service_keys import TASKS
from pipeline.errors import PipelineError
from pipeline.images.read import size_of
from storage.records import TaskRecord, absolute_url

_COMMENT: Final = b": waiting\n\n"
_FORMATS: Final = {"jpg": "jpeg"}  # ours, where the family writes it otherwise
_encode: Final = msgspec.json.Encoder().encode


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """How a request is answered. ``kind`` is the prefix of a stream's event names."""

    kind: Literal["image_generation", "image_edit"]
    quality: str = ""  # as replies call it; "" where none was asked for
    as_url: bool = False
    stream: bool = False
    partial_images: int = 0


class Picture(msgspec.Struct, frozen=True):
    """A finished picture's file, with its seed and size."""

    base64: str  # "" where its URL is told instead
    seed: int | UnsetType
    size: str
    format: str


async def answer(
    request: web.Request, ticket: Ticket, wish: Wish, headers: Mapping[str, str]
) -> web.Response:
    """The pictures of the ended task. Raises RequestRefused for a task without any."""
    row = await ticket.row()
    pictures = await _pictures(request.app[TASKS], row, as_url=wish.as_url)
    base = ticket.task.delivery.base_url
    reply = Images(
        created=_created(row),
        data=[
            ImageData(url=absolute_url(path, base), seed=picture.seed)
            if wish.as_url
            else ImageData(b64_json=picture.base64, seed=picture.seed)
            for path, picture in zip(row.result or (), pictures, strict=True)
        ],
        output_format=pictures[0].format,
        size=pictures[0].size,
        quality=wish.quality or UNSET,
    )
    return json_response(reply, headers=headers)


async def answer_stream(
    request: web.Request, ticket: Ticket, wish: Wish, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Previews while a picture is made, then an event for each picture, or one for the fault."""
    response = sse_response(headers)
    with ticket.events() as subscription, suppress(ConnectionError):
        await response.prepare(request)
        if not ticket.is_repeat:
            previews = Previews(wish.partial_images)
            async for batch in batches(subscription, limit=1):
                if not batch:
                    await response.write(_COMMENT)
                for each in batch:
                    if (event := previews.event_of(each.data, ticket, wish)) is not None:
                        await _send(response, event.type, event)
                if any(isinstance(each.data, TERMINAL) for each in batch):
                    break
        await _send_end(request, response, ticket, wish)
        await response.write_eof()
    return response


class Previews:
    """Chooses the previews to send: at most ``limit`` a picture, evenly over its steps.

    One that has not been sent when the task ends is sent then, as far as the limit allows.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sent = 0  # of this picture
        self._image = 0
        self._preview = ""

    def event_of(self, data: EventData, ticket: Ticket, wish: Wish) -> PartialEvent | None:
        """The event to send, if any; a preview is sent with the step that follows it."""
        match data:
            case TaskPreview(image=preview):
                self._preview = preview
            case _ if isinstance(data, TERMINAL) and self._preview:
                return self._next(ticket, wish)
            case TaskProgress(step=step, steps=steps, image=image):
                if image != self._image:
                    is_first = self._image == 0  # a late reader sees its preview before its step
                    self._sent, self._preview = 0, self._preview if is_first else ""
                    self._image = image
                if self._preview and step * (self._limit + 1) >= steps * (self._sent + 1):
                    return self._next(ticket, wish)
        return None

    def _next(self, ticket: Ticket, wish: Wish) -> PartialEvent | None:
        if self._sent == self._limit:
            return None
        head, _, content = self._preview.partition(";base64,")
        self._preview, index = "", self._sent
        self._sent += 1
        size = ticket.task.request.size
        return PartialEvent(
            type=f"{wish.kind}.partial_image",
            b64_json=content,
            partial_image_index=index,
            created_at=int(time.time()),
            size=f"{size.width}x{size.height}" if wish.kind == "image_generation" else "auto",
            quality=wish.quality or "auto",
            output_format=head.rpartition("/")[2],
        )


async def _send_end(
    request: web.Request, response: web.StreamResponse, ticket: Ticket, wish: Wish
) -> None:
    try:
        row = await ticket.row()
        pictures = await _pictures(request.app[TASKS], row)
    except (PipelineError, RequestRefused) as error:
        await _send(response, "error", fault_of(refusal_of(request, error)))
        return
    for picture in pictures:
        event = CompletedEvent(
            type=f"{wish.kind}.completed",
            b64_json=picture.base64,
            created_at=_created(row),
            size=picture.size,
            quality=wish.quality or "auto",
            seed=picture.seed,
            output_format=picture.format,
        )
        await _send(response, event.type, event)


async def _send(response: web.StreamResponse, name: str, data: msgspec.Struct) -> None:
    await response.write(b"event: " + name.encode() + b"\ndata: " + _encode(data) + b"\n\n")


async def _pictures(tasks: Tasks, row: TaskRecord, *, as_url: bool = False) -> list[Picture]:
    """The files of an ended task. Raises RequestRefused for a task without any, NotFound."""
    if not row.result:
        raise _without_picture(row)
    return [
        await _picture(tasks, path, picture_seed(row, i), as_url=as_url)
        for i, path in enumerate(row.result)
    ]


async def _picture(tasks: Tasks, path: str, seed: int | None, *, as_url: bool) -> Picture:
    data = await tasks.read_picture(path)
    suffix = path.rpartition(".")[2].lower()
    text = "" if as_url else await asyncio.to_thread(lambda: base64.b64encode(data).decode())
    width, height = size_of(data)
    told = UNSET if seed is None else seed
    return Picture(text, told, f"{width}x{height}", _FORMATS.get(suffix, suffix))


def _without_picture(row: TaskRecord) -> RequestRefused:
    """The refusal for an ended task without images, to be raised."""
    if row.task_status != "failed":
        return RequestRefused(409, "stopped", "the task was ended before it had a picture")
    code = row.code if row.code is not UNSET else "internal"
    error = row.error if row.error is not UNSET else "the task failed"
    return RequestRefused(STATUS_OF.get(code, 500), code, error)


def _created(row: TaskRecord) -> int:
    return (row.finish_mills or 0) // 1000
