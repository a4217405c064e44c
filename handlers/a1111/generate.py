"""POST /sdapi/v1/txt2img and /img2img, and the settings that they are made with."""

import asyncio
from functools import partial
from typing import TypeVar

import msgspec
from aiohttp import web

from handlers.a1111.chosen import AUTOMATIC_VAE, CHOSEN_SETTINGS, KNOWN, Settings, ignored_settings
from handlers.a1111.describe import describe
from handlers.a1111.mapping import common_fields, second_run_fields, start_fields
from handlers.a1111.pictures import fitted
from handlers.a1111.refusals import check_possible
from handlers.a1111.reply import generation_reply
from handlers.a1111.schemas import Generation, GenerationReply, Img2Img, Txt2Img
from handlers.http.access import KEY_NAME
from handlers.http.body import IGNORED_PARAMS, ignored_headers, read_json
from handlers.http.idempotency import idempotency_key
from handlers.http.operation import Payload
from handlers.http.refusal import RequestRefused
from handlers.http.respond import delivery_to, json_response, own_urls
from handlers.keys import CATALOG, PRESETS
from handlers.service.decoding import COPIES
from handlers.service.images import RequestImages
from handlers.service_keys import DECODING, IMAGES, SUBMISSIONS, TASKS
from pipeline.files.catalog import ModelCatalog
from pipeline.images.read import ImageTooLarge, UnreadableImage
from pipeline.request.choices import DEFAULT_VAE
from pipeline.request.decode import decoded_from
from pipeline.request.images import FieldPath
from pipeline.request.presets import INITIAL, preset_values
from pipeline.request.schema import GenerateParams
from storage.records import TaskRecord

_ERRORS = (400, 401, 403, 404, 413, 422, 429, 500, 501, 503, 507)
_HEADERS = {"Idempotency-Key": "A repeat with the same key joins the first one's task."}
B = TypeVar("B", bound=Generation)


class CurrentSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings in force. A client may send the whole object back."""

    sd_model_checkpoint: str
    sd_checkpoint_hash: str = ""
    sd_vae: str
    CLIP_stop_at_last_layers: int
    samples_format: str
    samples_save: bool = True
    enable_pnginfo: bool
    forge_additional_modules: list[str] = []


class Nothing(msgspec.Struct, frozen=True):
    """An empty object: done."""


@describe(
    name="a1111_txt2img",
    summary="Text to image",
    headers=_HEADERS,
    body=Payload(type=Txt2Img),
    reply=Payload(type=GenerationReply),
    errors=_ERRORS,
)
async def txt2img(request: web.Request) -> web.Response:
    """Queue a task and wait for its pictures."""
    body, headers = await _read(request, Txt2Img)
    fields = await _fields(request, body)
    return await _answer(request, body, fields, headers)


@describe(
    name="a1111_img2img",
    summary="Image to image, or inpainting with a mask",
    headers=_HEADERS,
    body=Payload(type=Img2Img),
    reply=Payload(type=GenerationReply),
    errors=_ERRORS,
)
async def img2img(request: web.Request) -> web.Response:
    """As ``txt2img``; the picture is first brought to the size that is asked for."""
    body, headers = await _read(request, Img2Img)
    fields = await _fields(request, body)
    uploads = await _start_pictures(request, body)
    return await _answer(request, body, fields, headers, uploads)


@describe(
    name="a1111_options",
    summary="The settings in force",
    reply=Payload(type=CurrentSettings),
    errors=(401, 403),
)
async def options(request: web.Request) -> web.Response:
    """The chosen settings, and the start preset's where none are chosen."""
    chosen = request.app[CHOSEN_SETTINGS].of(request.get(KEY_NAME, ""))
    return json_response(await asyncio.to_thread(_current, request.app, chosen))


@describe(
    name="a1111_set_options",
    summary="Choose checkpoint, VAE and CLIP layer for the requests of this API",
    description="It holds until the next start, for requests with the same API key. Settings"
    " that take no effect are named in X-Ignored-Params.",
    body=Payload(type=Settings),
    reply=Payload(type=Nothing),
    errors=(400, 401, 403, 404, 413, 422),
)
async def set_options(request: web.Request) -> web.Response:
    """Change the settings that are named; 404 for a model that is not there."""
    settings, headers = await read_json(request, Settings)
    await asyncio.to_thread(settings.fields, request.app[CATALOG])
    request.app[CHOSEN_SETTINGS].choose(request.get(KEY_NAME, ""), settings)
    return json_response(Nothing(), headers=headers)


async def _read(request: web.Request, kind: type[B]) -> tuple[B, dict[str, str]]:
    """The body, refused where it wants what is not done here, and the reply's headers."""
    body, headers = await read_json(request, kind)
    check_possible(body)
    told = [name for name in (headers.get(IGNORED_PARAMS),) if name]
    told += ignored_settings(body.override_settings)
    return body, ignored_headers(request, told)


async def _fields(request: web.Request, body: Generation) -> dict[str, object]:
    """The fields of the task."""
    chosen = request.app[CHOSEN_SETTINGS].of(request.get(KEY_NAME, ""))
    return await asyncio.to_thread(_fields_with, chosen, body, request.app[CATALOG])


def _fields_with(chosen: Settings, body: Generation, catalog: ModelCatalog) -> dict[str, object]:
    """Lists model files: not for the event loop."""
    fields = chosen.fields(catalog) | common_fields(body, catalog)
    fields |= _overriding(body).fields(catalog)
    if isinstance(body, Txt2Img):
        fields |= second_run_fields(body, catalog)
    if isinstance(body, Img2Img):
        fields |= start_fields(body)
    return fields


def _overriding(body: Generation) -> Settings:
    named = {name: value for name, value in body.override_settings.items() if name in KNOWN}
    return msgspec.convert(named, Settings)


async def _start_pictures(request: web.Request, body: Img2Img) -> dict[FieldPath, bytes]:
    size = (body.width, body.height) if body.width and body.height else None
    field = "inpaint_input_image" if body.mask else "uov_input_image"
    pictures: list[tuple[str, str]] = [(field, body.init_images[0])]
    if body.mask:
        pictures.append(("inpaint_mask_image_upload", body.mask))
    found: dict[FieldPath, bytes] = {}
    for name, value in pictures:
        is_mask = name == "inpaint_mask_image_upload"
        data = await request.app[IMAGES].read(
            (name,), value, RequestImages(own_urls=own_urls(request))
        )
        make = partial(fitted, data, size, body.resize_mode, is_mask=is_mask)
        try:
            found[name,] = await request.app[DECODING].run(make, data, copies=COPIES)
        except (UnreadableImage, ImageTooLarge) as error:
            raise type(error)(f"{name}: {error}") from error
    return found


async def _answer(
    request: web.Request,
    body: Generation,
    fields: dict[str, object],
    headers: dict[str, str],
    uploads: dict[FieldPath, bytes] | None = None,
) -> web.Response:
    ticket = await request.app[SUBMISSIONS].submit(
        decoded_from(fields),
        RequestImages(own_urls=own_urls(request), uploads=uploads or {}),
        delivery_to(request),
        idempotency_key(request),
    )
    row = ended(await ticket.row())
    pictures = [await request.app[TASKS].read_picture(path) for path in row.result or ()]
    make = partial(generation_reply, row, pictures, body, send=body.send_images)
    reply = await request.app[DECODING].run(make, *pictures[:1], shown=True)
    headers = {"X-Task-Id": ticket.task_id, **headers}
    return await asyncio.to_thread(partial(json_response, reply, headers=headers))


def ended(row: TaskRecord) -> TaskRecord:
    """The row of a task with what pictures it has. Raises RequestRefused: 500 if it failed."""
    if row.task_status == "failed":
        raise RequestRefused(500, str(row.code or "failed"), str(row.error or "the task failed"))
    return row


def _current(app: web.Application, chosen: Settings) -> CurrentSettings:
    """Reads a preset: not for the event loop."""
    defaults = msgspec.structs.asdict(GenerateParams())
    values = {**defaults, **preset_values(app[PRESETS].load(INITIAL))}
    values |= chosen.fields(app[CATALOG])
    return CurrentSettings(
        sd_model_checkpoint=str(values["base_model_name"]),
        sd_vae=AUTOMATIC_VAE if values["vae_name"] == DEFAULT_VAE else str(values["vae_name"]),
        CLIP_stop_at_last_layers=msgspec.convert(values["clip_skip"], int),
        samples_format=str(values["output_format"]),
        enable_pnginfo=bool(values["save_metadata_to_images"]),
    )
