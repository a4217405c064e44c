"""Pictures of img2img: brought to the size that the request asks for."""

from collections.abc import Callable, Mapping
from typing import Final

from PIL import Image

from pipeline.images.encode import encode_image
from pipeline.images.read import open_mask, open_upright
from pipeline.images.resize import resize_cropped, resize_filled, resize_lanczos

_Resize = Callable[[Image.Image, int, int], Image.Image]
_MODES: Final[Mapping[int, _Resize]] = {0: resize_lanczos, 1: resize_cropped, 2: resize_filled}
Size = tuple[int, int]


def fitted(data: bytes, size: Size | None, mode: int, *, is_mask: bool = False) -> bytes:
    """The picture in that size as PNG; as it is where it has it, or where no size is asked for.

    ``mode`` is A1111's ``resize_mode``: 0 stretches, 1 crops, 2 fills the rest with the edges.
    Decodes the picture: not for the event loop. Raises UnreadableImage, ImageTooLarge.
    """
    image = (open_mask if is_mask else open_upright)(data)
    if size is None or image.size == size:
        return data
    return encode_image(_MODES[mode](image, *size), "png")
