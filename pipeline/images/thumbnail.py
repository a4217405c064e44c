"""A picture made small enough for a page full of them."""

import io
from typing import Final

from PIL import Image

from pipeline.images.read import open_upright

SIDE: Final = 384  # pixels of the longer side: twice a cell of the gallery, for sharp screens
QUALITY: Final = 78


def make_thumbnail(data: bytes) -> bytes:
    """The picture as a WebP of at most 384x384, upright, without metadata.

    Raises UnreadableImage, ImageTooLarge.
    """
    image = open_upright(data)
    image.thumbnail((SIDE, SIDE), Image.Resampling.BICUBIC, reducing_gap=2.0)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=QUALITY, method=2)
    return buffer.getvalue()
