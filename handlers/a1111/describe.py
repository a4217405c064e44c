"""What the family's operations have in common: tag, name in the history, form of an error."""

from functools import partial
from typing import Final

import msgspec
from aiohttp import web

from handlers.http.operation import Operation
from handlers.http.refusal import FieldError, RequestRefused, renamed
from handlers.http.respond import json_response
from pipeline.images.read import UnreadableImage

FAMILY: Final = "a1111"

# Our field → the family's, where a wrong value is told.
_THEIRS: Final = {
    "image_number": "n_iter",
    "image_seed": "seed",
    "style_selections": "styles",
    "guidance_scale": "cfg_scale",
    "overwrite_step": "steps",
    "overwrite_width": "width",
    "overwrite_height": "height",
    "refiner_model_name": "refiner_checkpoint",
    "refiner_switch": "refiner_switch_at",
    "base_model_name": "sd_model_checkpoint",
    "vae_name": "sd_vae",
    "uov_input_image": "init_images",
    "inpaint_input_image": "init_images",
    "inpaint_mask_image_upload": "mask",
    "inpaint_strength": "denoising_strength",
    "overwrite_vary_strength": "denoising_strength",
    "overwrite_upscale_strength": "denoising_strength",
    "upscale_multiple": "hr_scale",
    "upscale_model": "hr_upscaler",
}


class A1111Error(msgspec.Struct, frozen=True):
    """The body of a refused request. ``error`` is a stable name; ``errors`` the detail as a line.

    ``body`` is there for the family's clients and always empty.
    """

    error: str
    detail: str | list[FieldError]
    errors: str
    body: str = ""


def error_body(refusal: RequestRefused) -> web.Response:
    """Errors in the family's own form, with its own status for bytes that are no image."""
    detail = _in_their_words(refusal.detail)
    told = RequestRefused(refusal.status, refusal.code, detail)
    status = 500 if refusal.code == UnreadableImage.code else refusal.status
    return json_response(A1111Error(refusal.code, detail, told.text), status=status)


def _in_their_words(detail: str | list[FieldError]) -> str | list[FieldError]:
    if isinstance(detail, str):
        field, colon, rest = detail.partition(": ")
        return f"{_THEIRS.get(field, field)}{colon}{rest}"
    return renamed(detail, _THEIRS)


_STATUSES: Final = (400, 401, 403, 404, 408, 413, 422, 429, 500, 501, 503, 507)
describe = partial(
    Operation,
    tag=FAMILY,
    family=FAMILY,
    error_body=error_body,
    error_replies=dict.fromkeys(_STATUSES, A1111Error),
    takes_basic=True,
)
