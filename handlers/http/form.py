"""Form bodies, URL-encoded or multipart, read within the limits of ``body``."""

from typing import Final
from urllib.parse import parse_qs

import msgspec
from aiohttp import BodyPartReader, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from handlers.http.body import body_limit, read_body, receiving, too_large
from handlers.http.refusal import RequestRefused, wrong_field

FIELDS_LIMIT: Final = 200
MULTIPART_FORM: Final = "multipart/form-data"
URL_ENCODED_FORM: Final = "application/x-www-form-urlencoded"
_TYPES: Final = frozenset({MULTIPART_FORM, URL_ENCODED_FORM})


class Form(msgspec.Struct, frozen=True):
    """The fields of a form, each with its values, and the files of a multipart one."""

    fields: dict[str, list[str]] = {}
    files: dict[str, list[bytes]] = {}

    def value(self, name: str, default: str = "") -> str:
        """The first value of a field."""
        return self.fields.get(name, [default])[0]

    def file(self, name: str) -> bytes:
        """The first file of a field. Raises RequestRefused: 422 if there is none."""
        if name not in self.files:
            raise wrong_field(name, "Expected a file")
        return self.files[name][0]


async def read_form(request: web.Request, limit_bytes: int | None = None) -> Form:
    """The body as a form. Raises RequestRefused: as ``read_body``, and 400 for no form.

    A body that does not say what it is counts as URL-encoded.
    """
    if hdrs.CONTENT_TYPE in request.headers and request.content_type not in _TYPES:
        if (request.content_length or 0) > (limit := body_limit(request, limit_bytes)):
            raise too_large(limit)
        raise _no_form(f"it is {request.content_type}, not {MULTIPART_FORM}")
    try:
        if request.content_type == MULTIPART_FORM:
            return await _read_multipart(request, body_limit(request, limit_bytes))
        body = await read_body(request, limit_bytes)
        return Form(parse_qs(body.decode("ascii"), max_num_fields=FIELDS_LIMIT))
    except ValueError as error:
        raise _no_form(str(error)) from None
    except HttpProcessingError as error:  # of the head of a part
        raise _no_form(" ".join(error.message.split())) from None


def _no_form(why: str) -> RequestRefused:
    return RequestRefused(400, "invalid_form", f"the body is not a form: {why}")


async def _read_multipart(request: web.Request, limit: int) -> Form:
    form, left = Form(), limit
    async with receiving(request):
        parts = await request.multipart()
        for _ in range(FIELDS_LIMIT):
            part = await parts.next()
            if part is None:
                return form
            if not isinstance(part, BodyPartReader) or part.name is None:
                raise ValueError("a part has no name")
            data = await _read_part(part, left, limit)
            left -= len(data)
            if part.filename is None:
                form.fields.setdefault(part.name, []).append(data.decode())
            else:
                form.files.setdefault(part.name, []).append(data)
    raise ValueError(f"more than {FIELDS_LIMIT} fields")


async def _read_part(part: BodyPartReader, left: int, limit: int) -> bytes:
    """The bytes as sent: a part's Content-Encoding is ignored, so no bomb can expand."""
    data = bytearray()
    while chunk := await part.read_chunk():
        data += chunk
        if len(data) > left:
            raise too_large(limit)
    return bytes(data)
