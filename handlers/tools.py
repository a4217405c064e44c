"""The image tools. Their bodies are checked; their models arrive in a later version."""

import msgspec
from aiohttp import web

from handlers.limits import read_body
from handlers.schemas import DescribeImage, GenerateMask
from pipeline.errors import InvalidParameter, UnsupportedFeature

_decode_describe = msgspec.json.Decoder(DescribeImage).decode
_decode_mask = msgspec.json.Decoder(GenerateMask).decode


async def describe_image(request: web.Request) -> web.Response:
    """Put a picture into words."""
    body = _decode_describe(await read_body(request))
    _check_image(body.image)
    raise UnsupportedFeature("describe-image", "describe-image arrives in a later version")


async def generate_mask(request: web.Request) -> web.Response:
    """Find something in a picture and draw a mask of it."""
    body = _decode_mask(await read_body(request))
    _check_image(body.image)
    raise UnsupportedFeature("generate_mask", "generate_mask arrives in a later version")


def _check_image(image: str) -> None:
    if image in ("", "None"):
        raise InvalidParameter(("image",), "an image is required")
