"""POST /v1/images/…: pictures from a prompt, from a picture and a mask, from a picture alone."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal

import msgspec
from aiohttp import web

from handlers.http.body import ignored_headers, read_object
from handlers.http.form import read_form
from handlers.http.form_fields import FormBody, decode_form
from handlers.http.idempotency import idempotency_key
from handlers.http.operation import Payload
from handlers.http.refusal import wrong_field
from handlers.http.respond import delivery_to, own_urls
from handlers.openai import params
from handlers.openai.answers import Wish, answer, answer_stream
from handlers.openai.describe import describe
from handlers.openai.params import TOLD_QUALITY, Wanted, ignored_of, to_params
from handlers.openai.schemas import CreateImage, EditImage, Images, VaryImage
from handlers.service.decoding import COPIES
from handlers.service.images import RequestImages
from handlers.service_keys import DECODING, SUBMISSIONS
from pipeline.images.alpha_mask import alpha_mask
from pipeline.request.decode import decoded_from

_ERRORS: Final = (400, 401, 403, 404, 409, 429, 500, 503, 507)
_STREAM: Final = "text/event-stream"


@describe(
    name="openai_generate",
    summary="Pictures from a prompt",
    description="With `stream`, events: previews up to `partial_images`, then the pictures.",
    body=Payload(type=CreateImage),
    reply=Payload(type=Images, media_types=(_STREAM,)),
    errors=_ERRORS,
)
async def generations(request: web.Request) -> web.StreamResponse:
    """Make pictures and answer with them, or follow them in a stream."""
    raw, struct = await read_object(request, CreateImage)
    body: dict[str, Any] = msgspec.to_builtins(struct)
    known = frozenset(CreateImage.__struct_fields__)
    unknown = [name for name in raw if name not in known]
    wish = _wish(body, "image_generation")
    return await _make(request, to_params(body), wish, [*unknown, *ignored_of(body)])


@describe(
    name="openai_edit",
    summary="Paint in a picture where the mask is transparent, or redraw it",
    body=Payload(form=EditImage),
    reply=Payload(type=Images, media_types=(_STREAM,)),
    errors=_ERRORS,
)
async def edits(request: web.Request) -> web.StreamResponse:
    """Paint in an uploaded picture. Without a mask its own transparency is the mask."""
    form = decode_form(await read_form(request), EditImage)
    pictures = form.files.get("image", [])
    mask = await _mask(request, form, pictures)
    wanted = params.edit(to_params(form.values), pictures, mask)
    wish = _wish(form.values, "image_edit")
    return await _make(request, wanted, wish, _ignored(form))


@describe(
    name="openai_vary",
    summary="Vary a picture",
    body=Payload(form=VaryImage),
    reply=Payload(type=Images),
    errors=_ERRORS,
)
async def variations(request: web.Request) -> web.StreamResponse:
    """Make variations of an uploaded picture."""
    form = decode_form(await read_form(request), VaryImage)
    wanted = params.vary(to_params(form.values), form.file("image"))
    return await _make(request, wanted, _wish(form.values, "image_edit"), _ignored(form))


async def _make(
    request: web.Request, wanted: Wanted, wish: Wish, ignored: Sequence[str]
) -> web.StreamResponse:
    ticket = await request.app[SUBMISSIONS].submit(
        decoded_from(wanted.fields),
        RequestImages(own_urls=own_urls(request), uploads=wanted.uploads),
        delivery_to(request),
        idempotency_key(request),
    )
    headers = {"X-Task-Id": ticket.task_id, **ignored_headers(request, ignored)}
    reply = answer_stream if wish.stream else answer
    return await reply(request, ticket, wish, headers)


async def _mask(request: web.Request, form: FormBody, pictures: Sequence[bytes]) -> bytes:
    """A mask, white where to inpaint; empty for the whole image. Raises RequestRefused."""
    decoding = request.app[DECODING]
    if mask := form.file("mask"):
        painted = await decoding.run(partial(alpha_mask, mask), mask, copies=COPIES)
        if painted is None:
            raise wrong_field("mask", "it is opaque; make it transparent where to paint")
        return painted
    if not pictures:
        return b""
    first = pictures[0]
    return await decoding.run(partial(alpha_mask, first), first, copies=COPIES) or b""


def _wish(body: Mapping[str, Any], kind: Literal["image_generation", "image_edit"]) -> Wish:
    quality = body.get("quality") or "auto"
    return Wish(
        kind=kind,
        quality="" if quality == "auto" else TOLD_QUALITY.get(quality, quality),
        as_url=body.get("response_format") == "url",
        stream=body.get("stream") is True,
        partial_images=body.get("partial_images") or 0,
    )


def _ignored(form: FormBody) -> list[str]:
    """Ignored fields; the size as well, which is the input image's."""
    size = ["size"] if form.values.get("size") not in (None, "auto") else []
    return [*form.unknown, *ignored_of(form.values), *size]
