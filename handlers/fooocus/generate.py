"""POST /v1/engine/generate/: one endpoint, four ways of answering."""

from contextlib import ExitStack
from typing import Final

from aiohttp import web

from handlers.fooocus.answers import Answer, answer_async, answer_binary, answer_stream, answer_sync
from handlers.fooocus.stream import followed
from handlers.http.negotiation import wanted_image_format
from handlers.http.operation import IMAGE_TYPES, Operation, Payload
from handlers.keys import BUS
from handlers.service.submit import Order, read_order
from handlers.service_keys import ADMISSIONS
from pipeline.request.delivery import GenerateRequest
from storage.records import TaskRecord

_PROMPT: Final = {"prompt": "", "negative_prompt": "", "performance_selection": "Lightning"}


@Operation(
    name="generate",
    tag="engine",
    summary="Make pictures",
    description=(
        "Four ways of answering: `Accept: image/*` gives the picture itself; `stream_output` a"
        " stream of events; `async_process` an answer at once; else the record of the finished"
        " task. What is left out comes from the preset. The body is read as JSON whatever its"
        " Content-Type; unknown fields are named in the header X-Ignored-Params."
    ),
    body=Payload(
        type=GenerateRequest,
        examples={
            "synchronous": _PROMPT | {"webhook_url": ""},
            "asynchronous": _PROMPT | {"async_process": True, "webhook_url": ""},
            "stream": _PROMPT | {"stream_output": True, "webhook_url": ""},
            "picture": {"prompt": "a red circle on a blue background", "preset": "initial"},
        },
        accept={"picture": "image/png"},
    ),
    headers={
        "Accept": "An image type as first choice: the answer is the picture itself.",
        "Idempotency-Key": "A repeat with the same key joins the first one's task.",
    },
    reply=Payload(type=TaskRecord, media_types=(*IMAGE_TYPES, "text/event-stream")),
    errors=(400, 401, 403, 404, 413, 415, 422, 429, 500, 501, 503),
)
async def generate(request: web.Request) -> web.StreamResponse:
    """Queue a task and answer in the way asked for: picture, stream, at once, or at the end.

    A client that goes away does not stop its task.
    """
    image_format = wanted_image_format(request.headers.getall("Accept", []))
    order = await read_order(request, image_format)
    delivery = order.task.delivery
    if image_format is None and delivery.stream_output:
        return await _stream(request, order)
    answer = Answer.to(request, order, await request.app[ADMISSIONS].admit(order))
    if image_format is not None:
        return await answer_binary(answer)
    if delivery.async_process:
        return answer_async(answer)
    return await answer_sync(answer)


async def _stream(request: web.Request, order: Order) -> web.StreamResponse:
    """Listen first, then queue: the task may begin and end at once."""
    bus = request.app[BUS]
    with ExitStack() as stack:
        news = stack.enter_context(bus.subscribe(followed(order.task.task_id)))
        answer = Answer.to(request, order, await request.app[ADMISSIONS].admit(order))
        if answer.is_repeat:
            news = stack.enter_context(bus.subscribe(followed(answer.task_id)))
        return await answer_stream(answer, news)
