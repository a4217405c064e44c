"""What the family's operations have in common: tag, name in the history, form of an error."""

from collections.abc import Mapping
from functools import partial
from typing import Final

import msgspec
from aiohttp import web

from handlers.http.operation import Operation
from handlers.http.refusal import FieldError, RequestRefused, renamed
from handlers.http.respond import json_response

FAMILY: Final = "fooocus-api"

# Our field → the family's, where a wrong value is told.
_THEIRS: Final = {
    "inpaint_mask_image_upload": "input_mask",
    "save_metadata_to_images": "save_meta",
    "metadata_scheme": "meta_scheme",
    "output_format": "save_extension",
    "upscale_multiple": "upscale_value",
    "controlnet_image": "image_prompts",
    "enhance_ctrls": "enhance_ctrlnets",
    "uov_input_image": "input_image",
    "inpaint_input_image": "input_image",
}


class FamilyError(msgspec.Struct, frozen=True):
    """The body of a refused request. ``body`` is there for its clients and always null."""

    detail: str | list[FieldError]
    code: str
    body: None = None


def error_body(refusal: RequestRefused) -> web.Response:
    """Errors in the family's own form. Without a key it says 403, as with a wrong one."""
    if refusal.status == 401:
        return json_response(FamilyError("Forbidden", refusal.code), status=403)
    detail = refusal.detail
    if not isinstance(detail, str):
        detail = renamed(detail, _THEIRS)
    return json_response(FamilyError(detail, refusal.code), status=refusal.status)


ERROR_REPLIES: Final[Mapping[int, type[msgspec.Struct]]] = dict.fromkeys(
    (400, 403, 404, 409, 413, 415, 422, 500, 503, 507), FamilyError
)
describe = partial(
    Operation,
    tag=FAMILY,
    family=FAMILY,
    error_body=error_body,
    error_replies=ERROR_REPLIES,
)
