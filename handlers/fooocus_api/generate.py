"""The endpoints that make pictures: JSON or a form in; a list, a job or a PNG out."""

from typing import Annotated, Any, Final

import msgspec
from aiohttp import hdrs, web
from msgspec import Meta

from handlers.fooocus_api import bodies, params
from handlers.fooocus_api.describe import describe
from handlers.fooocus_api.forms import form_body, unknown_advanced
from handlers.fooocus_api.params import Fill, Wanted, to_params
from handlers.fooocus_api.replies import accepted_job, images_of, refused_job
from handlers.fooocus_api.schemas import GeneratedImage, Job, JobType
from handlers.http.body import ignored_headers, read_object
from handlers.http.errors import RETRY_SECONDS
from handlers.http.form import read_form
from handlers.http.idempotency import idempotency_key
from handlers.http.operation import Payload
from handlers.http.refusal import Handler
from handlers.http.respond import base_url, delivery_to, json_response, own_urls
from handlers.service.images import RequestImages
from handlers.service.submit import Ticket
from handlers.service_keys import SUBMISSIONS, TASKS
from pipeline.errors import KeyQueueFull, QueueFull
from pipeline.request.decode import Decoded, decoded_from

PNG: Final = "image/png"
_ERRORS: Final = (400, 403, 404, 409, 413, 415, 422, 500, 503, 507)
# Of a binary answer without a picture, by the reason.
_STATUS_OF: Final = {"QUEUE_IS_FULL": 409, "USER_CANCEL": 400, "ERROR": 500, "SUCCESS": 500}
_FULL: Final = GeneratedImage(finish_reason="QUEUE_IS_FULL")


class AnswerQuery(msgspec.Struct, kw_only=True):
    """The query of the generation endpoints."""

    accept: Annotated[
        str, Meta(description="`image/png`: the answer is the picture; before the header Accept.")
    ] = ""


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """What one endpoint makes, and how its request becomes ours. Its body is JSON or a form."""

    job: JobType
    fill: Fill
    body: type[msgspec.Struct]
    is_form: bool = False


def endpoint(name: str, summary: str, kind: Kind) -> Handler:
    """The handler of one kind."""

    async def generate(request: web.Request, query: AnswerQuery) -> web.Response:
        wanted, ignored = await _read(request, kind)
        decoded = decoded_from(wanted.fields)
        is_binary = (query.accept or request.headers.get(hdrs.ACCEPT, "")) == PNG
        if is_binary:
            decoded = decoded.with_fields(image_number=1, output_format="png")
        headers = ignored_headers(request, ignored)
        try:
            ticket = await _submit(request, decoded, wanted)
        except (QueueFull, KeyQueueFull):
            headers[hdrs.RETRY_AFTER] = str(RETRY_SECONDS)
            return _when_full(kind, headers, is_binary=is_binary, delivery=decoded)
        headers["X-Task-Id"] = ticket.task_id
        if not is_binary and decoded.delivery.async_process:
            return json_response(accepted_job(ticket.task_id, kind.job), headers=headers)
        return await _answer(request, ticket, headers, is_binary=is_binary)

    return describe(
        name=f"fooocus_api_{name}",
        summary=summary,
        body=Payload(form=kind.body) if kind.is_form else Payload(type=kind.body),
        headers={"Accept": "`image/png` alone: the answer is the picture itself."},
        reply=Payload(type=list[GeneratedImage] | Job, media_types=(PNG,)),
        errors=_ERRORS,
    )(generate)


async def _read(request: web.Request, kind: Kind) -> tuple[Wanted, list[str]]:
    """The request in our terms, and the fields that mean nothing."""
    if kind.is_form:
        form = form_body(await read_form(request), kind.body)
        files = {name: form.file(name) for name in form.files}
        return to_params(form.values, files, kind.fill), form.unknown
    raw, struct = await read_object(request, kind.body)
    body: dict[str, Any] = msgspec.to_builtins(struct)
    known = frozenset(kind.body.__struct_fields__)
    ignored = [name for name in raw if name not in known]
    ignored += unknown_advanced(raw.get("advanced_params"))
    return to_params(body, {}, kind.fill), ignored


async def _submit(request: web.Request, decoded: Decoded, wanted: Wanted) -> Ticket:
    return await request.app[SUBMISSIONS].submit(
        decoded,
        RequestImages(own_urls=own_urls(request), uploads=wanted.uploads),
        delivery_to(request, decoded.delivery),
        idempotency_key(request),
    )


def _when_full(
    kind: Kind, headers: dict[str, str], *, is_binary: bool, delivery: Decoded
) -> web.Response:
    """The family's way to say that there is no room."""
    if is_binary:
        return web.Response(text=_FULL.finish_reason, status=409, headers=headers)
    is_async = delivery.delivery.async_process
    return json_response(refused_job(kind.job) if is_async else [_FULL], headers=headers)


async def _answer(
    request: web.Request, ticket: Ticket, headers: dict[str, str], *, is_binary: bool
) -> web.Response:
    """The pictures of the ended task."""
    tasks, row = request.app[TASKS], await ticket.row()
    if is_binary and row.result:
        picture = await tasks.read_picture(row.result[0])
        return web.Response(body=picture, content_type=PNG, headers=headers)
    as_base64 = ticket.task.delivery.require_base64
    images = await images_of(tasks, row, base_url(request), as_base64=as_base64)
    if not is_binary:
        return json_response(images, headers=headers)
    reason = images[0].finish_reason
    return web.Response(text=reason, status=_STATUS_OF[reason], headers=headers)


_UPSCALED: Final = "Image Upscale or Variation"
_PAINTED: Final = "Image Inpaint or Outpaint"
_PROMPTED: Final = "Image Prompt"
_ENHANCED: Final = "Image Enhancement"
_PAINT_FORM: Final = Kind(
    job=_PAINTED, fill=params.inpaint_or_outpaint, body=bodies.InpaintOrOutpaintForm, is_form=True
)

text_to_image: Final = endpoint(
    "v1_text_to_image",
    "Pictures from a prompt",
    Kind(job="Text to Image", fill=params.text_to_image, body=bodies.TextToImage),
)
text_with_prompts: Final = endpoint(
    "v2_text_to_image_with_ip",
    "Pictures from a prompt and image prompts",
    Kind(job="Text to Image", fill=params.text_to_image, body=bodies.TextWithPrompts),
)
upscale_vary_form: Final = endpoint(
    "v1_image_upscale_vary",
    "Vary or upscale an uploaded picture",
    Kind(job=_UPSCALED, fill=params.upscale_or_vary, body=bodies.UpscaleOrVaryForm, is_form=True),
)
upscale_vary: Final = endpoint(
    "v2_image_upscale_vary",
    "Vary or upscale a picture",
    Kind(job=_UPSCALED, fill=params.upscale_or_vary, body=bodies.UpscaleOrVary),
)
inpaint_form: Final = endpoint(
    "v1_image_inpaint_outpaint", "Paint in an uploaded picture, or beyond it", _PAINT_FORM
)
inpaint_form_misspelt: Final = endpoint(
    "v1_image_inpait_outpaint", "The same under its older, misspelt path", _PAINT_FORM
)
inpaint: Final = endpoint(
    "v2_image_inpaint_outpaint",
    "Paint in a picture, or beyond it",
    Kind(job=_PAINTED, fill=params.inpaint_or_outpaint, body=bodies.InpaintOrOutpaint),
)
image_prompt_form: Final = endpoint(
    "v1_image_prompt",
    "Pictures from uploaded image prompts",
    Kind(job=_PROMPTED, fill=params.image_prompts, body=bodies.ImagePromptForm, is_form=True),
)
image_prompt: Final = endpoint(
    "v2_image_prompt",
    "Pictures from image prompts",
    Kind(job=_PROMPTED, fill=params.image_prompts, body=bodies.WithImagePrompts),
)
enhance_form: Final = endpoint(
    "v1_image_enhance",
    "Enhance an uploaded picture",
    Kind(job=_ENHANCED, fill=params.enhancement, body=bodies.EnhancementForm, is_form=True),
)
enhance: Final = endpoint(
    "v2_image_enhance",
    "Enhance a picture",
    Kind(job=_ENHANCED, fill=params.enhancement, body=bodies.Enhancement),
)
