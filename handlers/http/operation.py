"""How an operation is described for the OpenAPI document."""

from typing import Any, Final

import msgspec

IMAGE_TYPES: Final = ("image/png", "image/jpeg", "image/webp")


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """A body or a reply: JSON of ``type``, and the media types beside it.

    ``accept`` is by the name of an example: the Accept header that it is sent with.
    """

    type: Any = None
    media_types: tuple[str, ...] = ()
    examples: dict[str, object] = {}
    accept: dict[str, str] = {}


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One method of one path. ``query`` is a struct whose fields are the query parameters."""

    method: str
    path: str
    name: str
    tag: str
    summary: str
    description: str = ""
    body: Payload | None = None
    query: type[msgspec.Struct] | None = None
    headers: dict[str, str] = {}
    reply: Payload | None = None
    status: int = 200
    errors: tuple[int, ...] = (401, 403)
    is_open: bool = False
    takes_token: bool = False
