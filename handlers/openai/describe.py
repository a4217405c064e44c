"""What the family's operations have in common: tag, name in the history, form of an error."""

from functools import partial
from typing import Final

import msgspec
from aiohttp import hdrs, web

from handlers.http.operation import Operation
from handlers.http.refusal import Location, RequestRefused
from handlers.http.respond import json_response

FAMILY: Final = "openai"

# Our field → the family's, where a wrong value is told.
_THEIRS: Final = {
    "aspect_ratios_selection": "size",
    "image_number": "n",
    "performance_selection": "quality",
    "base_model_name": "model",
    "image_seed": "seed",
    "overwrite_step": "steps",
    "uov_input_image": "image",
    "inpaint_input_image": "image",
    "inpaint_mask_image_upload": "mask",
    "controlnet_image": "image",
}
# Its clients know 400 for every wrong request, and 401 for a wrong key as for none.
_STATUS_OF: Final = {413: 400, 415: 400, 422: 400}
_KEY_CODES: Final = frozenset({"unauthorized", "forbidden"})


class ApiFault(msgspec.Struct, frozen=True):
    """What is wrong; ``param`` names the field, ``code`` is ours and stable."""

    message: str
    type: str
    param: str | None
    code: str


class ApiError(msgspec.Struct, frozen=True):
    """The body of every refused or failed request."""

    error: ApiFault


def fault_of(refusal: RequestRefused) -> ApiError:
    """A refusal in the family's form."""
    if refusal.code in _KEY_CODES:
        message = "a key is wanted, or it is wrong"
        return ApiError(ApiFault(message, "invalid_request_error", None, "invalid_api_key"))
    param = "model" if refusal.code == "model_not_found" else None
    if not isinstance(refusal.detail, str):
        param = next((_place(each.loc) for each in refusal.detail), None)
    return ApiError(ApiFault(refusal.text, _kind(refusal.status), param, refusal.code))


def error_body(refusal: RequestRefused) -> web.Response:
    """The reply to a refused request.

    The published clients repeat 409 and 5xx unless told otherwise; only what is temporary is worth
    it, and a failed task is not.
    """
    is_about_keys = refusal.code in _KEY_CODES
    status = 401 if is_about_keys else _STATUS_OF.get(refusal.status, refusal.status)
    headers = {} if hdrs.RETRY_AFTER in refusal.headers else {"X-Should-Retry": "false"}
    return json_response(fault_of(refusal), status=status, headers=headers)


def _kind(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"


def _place(place: Location) -> str:
    """A field's name: its path from below ``body`` or ``query`` on."""
    first, *rest = place[1:] or place
    return ".".join(str(part) for part in (_THEIRS.get(str(first), first), *rest))


describe = partial(
    Operation,
    tag=FAMILY,
    family=FAMILY,
    error_body=error_body,
    error_replies=dict.fromkeys((400, 401, 403, 404, 408, 409, 429, 500, 503, 507), ApiError),
)
