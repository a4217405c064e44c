"""Images to files as ``png``, ``jpeg``, ``jpg`` or ``webp``, with the parameters that made them."""

import io
from collections.abc import Mapping
from typing import Final

from PIL import Image

from pipeline.errors import InvalidParameter
from pipeline.images.embedded_text import exif_text, png_text, read_text
from pipeline.images.flatten import flatten, with_modes
from pipeline.images.read import READABLE_MIME_TYPES, open_image

_PILLOW_FORMATS: Final[Mapping[str, str]] = {
    "png": "PNG",
    "jpg": "JPEG",
    "jpeg": "JPEG",
    "webp": "WEBP",
}
MIME_TYPES: Final[Mapping[str, str]] = {name: READABLE_MIME_TYPES[name] for name in _PILLOW_FORMATS}
TEXT_BYTES: Final = 1_000_000  # of a text in UTF-8; below the limit of reading (bounds, MAX_CHARS)

_LONGEST_SIDE: Final[Mapping[str, int]] = {"JPEG": 65_500, "WEBP": 16_383}  # pixels
_JPEG_EXIF_BYTES: Final = 65_000  # one JPEG segment holds 65,533


def encode_image(
    image: Image.Image, output_format: str, parameters: str | None = None, scheme: str | None = None
) -> bytes:
    """Encode as ``png``, ``jpeg``, ``jpg`` or ``webp``; all but PNG composite alpha on white.

    Raises InvalidParameter if a side is longer than the format allows.
    """
    pillow_format = _PILLOW_FORMATS[output_format]
    longest = _LONGEST_SIDE.get(pillow_format, max(image.size))
    if max(image.size) > longest:
        message = f"{output_format} holds {longest} pixels a side at most; ask for png"
        raise InvalidParameter(("output_format",), f"{image.width}x{image.height}: {message}")
    buffer = io.BytesIO()
    if pillow_format == "PNG":
        with_modes(image, ("RGB", "RGBA", "L")).save(
            buffer, "PNG", compress_level=4, pnginfo=png_text(parameters, scheme)
        )
    else:
        limit = _JPEG_EXIF_BYTES if pillow_format == "JPEG" else None
        exif = exif_text(parameters, scheme, limit)
        flatten(image).save(buffer, pillow_format, quality=95, exif=exif)
    return buffer.getvalue()


def holds_text(output_format: str, parameters: str, scheme: str) -> bool:
    """Whether a file of that format has room for a parameters text."""
    if len(parameters.encode()) > TEXT_BYTES:
        return False
    if _PILLOW_FORMATS[output_format] != "JPEG":
        return True
    return bool(exif_text(parameters, scheme, _JPEG_EXIF_BYTES))


def convert(data: bytes, output_format: str) -> bytes:
    """The image in another format, metadata kept. Raises UnreadableImage, ImageTooLarge."""
    with open_image(data) as image:
        if image.format == _PILLOW_FORMATS[output_format]:
            return data
        text = read_text(image)
        return encode_image(image, output_format, *(text or (None, None)))
