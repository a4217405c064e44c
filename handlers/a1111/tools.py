"""png-info, interrogate and extra-single-image: what is done with a picture that is there."""

import asyncio
import base64
from functools import partial
from typing import Annotated, Final, Literal

import msgspec
from aiohttp import web
from msgspec import Meta

from handlers.a1111.describe import describe
from handlers.a1111.generate import ended
from handlers.a1111.mapping import NO_UPSCALER, upscaler_named
from handlers.http.body import read_json
from handlers.http.operation import Payload
from handlers.http.refusal import wrong_field
from handlers.http.respond import delivery_to, json_response, own_urls
from handlers.keys import CATALOG, EXECUTOR
from handlers.service.decoding import COPIES
from handlers.service.images import RequestImages
from handlers.service_keys import DECODING, IMAGES, SUBMISSIONS, TASKS
from pipeline.images.encode import convert
from pipeline.images.read import look_at
from pipeline.metadata.a1111 import a1111_entries
from pipeline.metadata.parse import MAX_CHARS
from pipeline.request.decode import decoded_from
from pipeline.request.schema_parts import Image
from pipeline.request.tools import ImageType
from pipeline.scheduling.worker import Describe

FACTOR: Final = 2.0  # of the only upscaling without a second run


class PngInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Body of png-info."""

    image: Image


class PngInfoReply(msgspec.Struct, frozen=True, kw_only=True):
    """The text in a picture, and its entries where it is written as A1111 writes it."""

    info: str
    items: dict[str, str]
    parameters: dict[str, str]


class Interrogate(msgspec.Struct, frozen=True, kw_only=True):
    """Body of interrogate."""

    image: Image
    model: Annotated[
        Literal["clip", "deepdanbooru", "deepbooru"],
        Meta(description="A sentence, or with the others tags."),
    ] = "clip"


class Caption(msgspec.Struct, frozen=True):
    """A description of a picture."""

    caption: str


class ExtraSingleImage(msgspec.Struct, frozen=True, kw_only=True):
    """Body of extra-single-image: enlarges a picture twice, without a second run."""

    image: Image
    resize_mode: Annotated[int, Meta(ge=0, le=1, description="1 is refused.")] = 0
    upscaling_resize: Annotated[float, Meta(description="2.")] = FACTOR
    upscaler_1: Annotated[str, Meta(description='See upscalers; "None" changes nothing.')] = (
        NO_UPSCALER
    )
    upscaler_2: Annotated[str, Meta(description='Refused unless "None".')] = NO_UPSCALER
    extras_upscaler_2_visibility: float = 0
    gfpgan_visibility: Annotated[float, Meta(description="Refused unless 0.")] = 0
    codeformer_visibility: Annotated[float, Meta(description="Refused unless 0.")] = 0
    codeformer_weight: float = 0
    upscaling_resize_w: float = 512
    upscaling_resize_h: float = 512
    upscaling_crop: bool = True
    upscale_first: bool = False
    show_extras_results: bool = True


class ExtraReply(msgspec.Struct, frozen=True, kw_only=True):
    """The picture in base64."""

    html_info: str
    image: str


@describe(
    name="a1111_png_info",
    summary="The parameters text in a picture",
    body=Payload(type=PngInfo),
    reply=Payload(type=PngInfoReply),
    errors=(400, 401, 403, 404, 413, 422, 500),
)
async def png_info(request: web.Request) -> web.Response:
    """The text as it stands in the file; "" for a picture without one."""
    body, headers = await read_json(request, PngInfo)
    data = await _picture(request, body.image)
    facts = await request.app[DECODING].run(partial(look_at, data), data)
    text = facts.text.parameters[:MAX_CHARS] if facts.text else ""
    entries = await asyncio.to_thread(a1111_entries, text)
    items = {"parameters": text} if text else {}
    return json_response(PngInfoReply(info=text, items=items, parameters=entries), headers=headers)


@describe(
    name="a1111_interrogate",
    summary="Describe a picture",
    body=Payload(type=Interrogate),
    reply=Payload(type=Caption),
    errors=(400, 401, 403, 404, 413, 422, 500, 501, 503),
)
async def interrogate(request: web.Request) -> web.Response:
    """A prompt that describes a picture; 503 if the model for it is not installed."""
    body, headers = await read_json(request, Interrogate)
    kind: ImageType = "Photo" if body.model == "clip" else "Anime"
    images = RequestImages(own_urls=own_urls(request))
    picture = await request.app[IMAGES].read_image(("image",), body.image, images)
    reply = await request.app[EXECUTOR].run_tool(Describe(picture=picture, image_type=kind))
    return json_response(Caption(reply.text), headers=headers)


@describe(
    name="a1111_extra_single_image",
    summary="Enlarge a picture twice",
    body=Payload(type=ExtraSingleImage),
    reply=Payload(type=ExtraReply),
    errors=(400, 401, 403, 404, 413, 422, 429, 500, 503, 507),
)
async def extra_single_image(request: web.Request) -> web.Response:
    """A task that enlarges the picture; without an upscaler, the picture as it is."""
    body, headers = await read_json(request, ExtraSingleImage)
    _check(body)
    if body.upscaler_1 == NO_UPSCALER:
        picture = await _as_png(request, await _picture(request, body.image))
    else:
        picture = await _enlarged(request, body)
    return await asyncio.to_thread(_extra_reply, picture, headers)


def _check(body: ExtraSingleImage) -> None:
    """Raise RequestRefused for what is not done here."""
    if body.resize_mode == 1:
        raise wrong_field("resize_mode", "1 (to a size) is not done here; use 0")
    if body.upscaler_2 != NO_UPSCALER and body.extras_upscaler_2_visibility:
        raise wrong_field("upscaler_2", "one upscaler a request is taken here")
    for name in ("gfpgan_visibility", "codeformer_visibility"):
        if getattr(body, name):
            raise wrong_field(name, "faces are not restored here; leave it out")
    if body.upscaler_1 != NO_UPSCALER and body.upscaling_resize != FACTOR:
        raise wrong_field("upscaling_resize", f"pictures are enlarged {FACTOR:g} times here")


async def _enlarged(request: web.Request, body: ExtraSingleImage) -> bytes:
    upscaler = await asyncio.to_thread(upscaler_named, request.app[CATALOG], body.upscaler_1)
    fields = {
        "uov_method": "Upscale (Fast 2x)",
        "uov_input_image": body.image,
        "upscale_model": upscaler,
        "image_number": 1,
        "output_format": "png",
        "metadata_scheme": "a1111",
    }
    ticket = await request.app[SUBMISSIONS].submit(
        decoded_from(fields), RequestImages(own_urls=own_urls(request)), delivery_to(request)
    )
    row = ended(await ticket.row())
    if not row.result:
        raise wrong_field("image", "the task was stopped before there was a picture")
    return await request.app[TASKS].read_picture(row.result[0])


def _extra_reply(picture: bytes, headers: dict[str, str]) -> web.Response:
    reply = ExtraReply(html_info="", image=base64.b64encode(picture).decode())
    return json_response(reply, headers=headers)


async def _as_png(request: web.Request, data: bytes) -> bytes:
    return await request.app[DECODING].run(partial(convert, data, "png"), data, copies=COPIES)


async def _picture(request: web.Request, value: str) -> bytes:
    images = RequestImages(own_urls=own_urls(request))
    return await request.app[IMAGES].read(("image",), value, images)
