"""What the family's operations have in common: tag, name, form of an error."""

from functools import partial
from typing import Final

import msgspec
from aiohttp import web

from handlers.http.operation import Operation
from handlers.http.refusal import RequestRefused
from handlers.http.respond import json_response

FAMILY: Final = "comfyui"


class PromptError(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong. ``type`` is a stable name."""

    type: str
    message: str
    details: str
    extra_info: dict[str, object] = {}


class PromptRefused(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a refused request."""

    error: PromptError
    node_errors: dict[str, object] = {}


def error_body(refusal: RequestRefused) -> web.Response:
    """Errors in the family's own form."""
    error = PromptError(type=refusal.code, message=refusal.text, details=refusal.text)
    return json_response(PromptRefused(error=error), status=refusal.status)


_STATUSES: Final = (400, 401, 403, 404, 408, 413, 415, 422, 501, 503, 507)
describe = partial(
    Operation,
    tag=FAMILY,
    family=FAMILY,
    error_body=error_body,
    error_replies=dict.fromkeys(_STATUSES, PromptRefused),
    takes_basic=True,
)
