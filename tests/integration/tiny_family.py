"""The smallest API family: all that one needs beside the service layer, and nothing copied.

Its clients name things their own way, upload pictures in forms, and want errors as ``{"oops"}``.
"""

import asyncio
from functools import partial

import msgspec
from aiohttp import web

from handlers.http.body import read_json
from handlers.http.form import read_form
from handlers.http.idempotency import idempotency_key
from handlers.http.operation import Operation, Payload
from handlers.http.refusal import RequestRefused
from handlers.http.respond import delivery_to, json_response, own_urls
from handlers.service.images import RequestImages
from handlers.service_keys import SUBMISSIONS, TASKS
from pipeline.request.decode import decoded_from
from pipeline.request.delivery import Delivery
from pipeline.request.images import FieldPath
from storage.records import TaskRecord


class Draw(msgspec.Struct, kw_only=True):
    """Body of POST /tiny/draw."""

    words: str
    luck: int = -1
    copies: int = 1


class Drawing(msgspec.Struct):
    """A finished drawing."""

    ticket: str
    state: str
    luck: int
    pictures: list[str]


class Oops(msgspec.Struct):
    """What went wrong."""

    oops: str


class JobQuery(msgspec.Struct, kw_only=True):
    """Query of GET /tiny/job."""

    ticket: str
    wait: bool = False


def to_params(body: Draw) -> dict[str, object]:
    """The request in the server's own terms."""
    return {"prompt": body.words, "image_seed": body.luck, "image_number": body.copies}


def from_record(record: TaskRecord) -> Drawing:
    """The reply in the family's terms."""
    return Drawing(
        ticket=record.task_id,
        state=record.task_status or "waiting",
        luck=msgspec.convert(record.req_params["image_seed"], int),
        pictures=record.result or [],
    )


def error_body(refusal: RequestRefused) -> web.Response:
    """Errors in the family's own form; its clients know no 422."""
    status = 400 if refusal.status == 422 else refusal.status
    return json_response(Oops(refusal.text), status=status)


describe = partial(Operation, tag="tiny", family="tiny", error_body=error_body)


@describe(
    name="tiny_draw", summary="Draw", body=Payload(type=Draw), reply=Payload(type=list[Drawing])
)
async def draw(request: web.Request) -> web.Response:
    """Draw, and wait for it."""
    body, headers = await read_json(request, Draw)
    ticket = await request.app[SUBMISSIONS].submit(
        decoded_from(to_params(body)),
        RequestImages(own_urls=own_urls(request)),
        delivery_to(request),
        idempotency_key(request),
    )
    return json_response([from_record(await ticket.end())], headers=headers)


@describe(name="tiny_vary", summary="Draw again, from an upload", reply=Payload(type=Drawing))
async def vary(request: web.Request) -> web.Response:
    """Vary an uploaded picture; answered at once."""
    form = await read_form(request)
    uploads: dict[FieldPath, bytes] = {("uov_input_image",): form.file("picture")}
    ticket = await request.app[SUBMISSIONS].submit(
        decoded_from({"prompt": form.value("words"), "uov_method": "Vary (Subtle)"}),
        RequestImages(own_urls=own_urls(request), uploads=uploads),
        delivery_to(request, Delivery(require_base64=True)),
    )
    return json_response(from_record(await ticket.record()))


@describe(name="tiny_job", summary="How a drawing stands", reply=Payload(type=Drawing))
async def job(request: web.Request, query: JobQuery) -> web.Response:
    """A drawing as it is, or with ``wait`` when it has ended."""
    tasks = request.app[TASKS]
    record = await (tasks.end(query.ticket) if query.wait else tasks.find(query.ticket))
    return json_response(from_record(record))


@describe(name="tiny_steps", summary="Draw, and tell every event", reply=Payload(type=list[str]))
async def steps(request: web.Request) -> web.Response:
    """The types of a task's events, from the first to the last."""
    body, _ = await read_json(request, Draw)
    ticket = await request.app[SUBMISSIONS].submit(
        decoded_from(to_params(body)), RequestImages(), delivery_to(request)
    )
    await ticket.end()  # all has happened before anybody listens: nothing is missed
    heard: list[str] = []
    with ticket.events() as events:
        while not heard or heard[-1] != "task.finished":
            async with asyncio.timeout(5):
                heard += [each.type for each in await events.take() if each.task_id]
    return json_response(heard)


ROUTES = [
    web.post("/tiny/draw", draw),
    web.post("/tiny/vary", vary),
    web.post("/tiny/steps", steps),
    web.get("/tiny/job", job),
]
