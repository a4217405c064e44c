"""The image tools: describe an image, and draw a mask of something in it."""

import base64

from aiohttp import web

from handlers.fooocus.schemas import (
    DescribeImage,
    DescribeQuery,
    Description,
    GenerateMask,
)
from handlers.http.body import read_json
from handlers.http.form import MULTIPART_FORM, read_form
from handlers.http.operation import Operation, Payload
from handlers.http.respond import json_response, own_urls
from handlers.keys import EXECUTOR
from handlers.service.images import UPLOAD, RequestImages
from handlers.service_keys import IMAGES
from pipeline.request.tools import ImageType, MaskOptions
from pipeline.scheduling.worker import Describe, DrawMask


@Operation(
    name="describe_image",
    tag="tools",
    summary="Put a picture into words",
    description=(
        "A sentence by BLIP for a photo, tags by the WD14 tagger for a drawing. The device does"
        " it before its next task. 503 if a model is not installed: the detail says what to put"
        " where."
    ),
    # The form is not described: openapi-python-client writes a broken module for two bodies.
    body=Payload(type=DescribeImage),
    reply=Payload(type=Description),
    errors=(400, 401, 403, 404, 413, 415, 422, 500, 501, 503),
)
async def describe_image(request: web.Request, query: DescribeQuery) -> web.Response:
    """A prompt that describes an image."""
    if request.content_type == MULTIPART_FORM:
        picture, image_type = await _uploaded(request, query)
        headers: dict[str, str] = {}
    else:
        body, headers = await read_json(request, DescribeImage)
        picture, image_type = await _picture(request, body.image), body.image_type
    call = Describe(picture=picture, image_type=image_type)
    reply = await request.app[EXECUTOR].run_tool(call)
    return json_response(Description(reply.text), headers=headers)


@Operation(
    name="generate_mask",
    tag="tools",
    summary="Draw a mask of something in a picture, as base64 PNG",
    description=(
        "White is what was found. `sam` looks for what dino_prompt_text names (several things"
        " with full stops between them); the other models find the foreground. The device does"
        " it before its next task. 503 if a model is not installed: the detail says what to put"
        " where."
    ),
    body=Payload(type=GenerateMask),
    reply=Payload(type=str),
    errors=(400, 401, 403, 404, 413, 415, 422, 500, 501, 503),
)
async def generate_mask(request: web.Request) -> web.Response:
    """A mask of something in an image: a PNG file, in base64."""
    body, headers = await read_json(request, GenerateMask)
    options = _options(body)
    options.check(("dino_prompt_text",))
    picture = await _picture(request, body.image)
    reply = await request.app[EXECUTOR].run_tool(DrawMask(picture=picture, options=options))
    return json_response(base64.b64encode(reply.picture).decode(), headers=headers)


async def _picture(request: web.Request, image: str) -> bytes:
    """The picture's bytes, checked before a device is asked, so a bad one is reported at once."""
    images = RequestImages(own_urls=own_urls(request))
    return await request.app[IMAGES].read_image(("image",), image, images)


async def _uploaded(request: web.Request, query: DescribeQuery) -> tuple[bytes, ImageType]:
    """The file of a form, checked, and the kind of picture that the query names."""
    form = await read_form(request)
    images = RequestImages(uploads={("image",): form.file("image")})
    picture = await request.app[IMAGES].read_image(("image",), UPLOAD, images)
    return picture, query.image_type or query.type or "Photo"


def _options(body: GenerateMask) -> MaskOptions:
    return MaskOptions(
        mask_model=body.mask_model,
        cloth_category=body.cloth_category,
        prompt=body.dino_prompt_text,
        sam_model=body.sam_model,
        box_threshold=body.box_threshold,
        text_threshold=body.text_threshold,
        max_detections=body.sam_max_detections,
        grow=body.dino_erode_or_dilate,
        only_boxes=body.dino_debug,
    )
