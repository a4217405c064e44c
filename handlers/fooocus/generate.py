"""POST /v1/engine/generate/, one endpoint with four ways of answering, and /v1/engine/image."""

from http import HTTPStatus
from typing import Final

from aiohttp import web

from handlers.fooocus.answers import answer_async, answer_binary, answer_stream, answer_sync
from handlers.http.body import ignored_headers, read_body
from handlers.http.idempotency import idempotency_key
from handlers.http.negotiation import FormatQuery, wanted_image_format
from handlers.http.operation import IMAGE_TYPES, Operation, Payload
from handlers.http.respond import delivery_to, own_urls
from handlers.service.images import RequestImages
from handlers.service_keys import SUBMISSIONS
from pipeline.request.choices import OutputFormat
from pipeline.request.decode import decode_params
from pipeline.request.delivery import GenerateRequest
from storage.records import TaskRecord

_ERRORS: Final = (400, 401, 403, 404, 406, 409, 413, 415, 422, 429, 500, 501, 503, 507)
_PICTURE: Final = {"prompt": "a red circle on a blue background", "preset": "initial"}
_PROMPT: Final = {"prompt": "", "negative_prompt": "", "performance_selection": "Lightning"}


@Operation(
    name="generate",
    tag="engine",
    summary="Make pictures",
    description=(
        "Four ways of answering: `Accept: image/*` or `?as=` gives the picture itself;"
        " `stream_output` a"
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
            "picture": _PICTURE,
        },
        accept={"picture": "image/png"},
    ),
    headers={
        "Accept": "An image type as first choice: the answer is the picture itself.",
        "Idempotency-Key": "A repeat with the same key joins the first one's task.",
    },
    reply=Payload(type=TaskRecord, media_types=(*IMAGE_TYPES, "text/event-stream")),
    errors=_ERRORS,
    error_replies={409: TaskRecord, 500: TaskRecord},
)
async def generate(request: web.Request, query: FormatQuery) -> web.StreamResponse:
    """Queue a task and answer in the way asked for: picture, stream, at once, or at the end.

    A client that goes away does not stop its task.
    """
    accepted = request.headers.getall("Accept", [])
    return await _generate(request, query.image_format or wanted_image_format(accepted))


@Operation(
    name="generate_image",
    tag="engine",
    summary="Make one picture and answer with it",
    description=(
        "As the generate endpoint with `?as=`, for generated clients: the answer has no other form."
    ),
    body=Payload(type=GenerateRequest, examples={"picture": _PICTURE}),
    headers={"Idempotency-Key": "A repeat with the same key joins the first one's task."},
    reply=Payload(media_types=IMAGE_TYPES),
    errors=tuple(status for status in _ERRORS if status != HTTPStatus.NOT_ACCEPTABLE),
    error_replies={409: TaskRecord, 500: TaskRecord},
)
async def generate_image(request: web.Request, query: FormatQuery) -> web.StreamResponse:
    """Queue a task of one picture and answer with the picture, a PNG unless asked otherwise."""
    return await _generate(request, query.image_format or "png")


async def _generate(request: web.Request, image_format: OutputFormat | None) -> web.StreamResponse:
    key = idempotency_key(request)
    decoded = decode_params(await read_body(request))
    if image_format is not None:
        decoded = decoded.with_fields(image_number=1, output_format=image_format)
    delivery = delivery_to(request, decoded.delivery)
    images = RequestImages(own_urls=own_urls(request))
    ticket = await request.app[SUBMISSIONS].submit(decoded, images, delivery, key)
    headers = {"X-Task-Id": ticket.task_id, **ignored_headers(request, decoded.ignored)}
    if image_format is not None:
        return await answer_binary(request, ticket, headers)
    if delivery.stream_output:
        return await answer_stream(request, ticket, headers)
    if delivery.async_process:
        return answer_async(ticket, headers)
    return await answer_sync(ticket, headers)
