"""Whether an uploaded mask paints anything, told from the encoded files. Torch-free."""

from typing import Final

from PIL import ImageOps

from pipeline.errors import InvalidParameter
from pipeline.images.read import open_image, open_mask
from pipeline.images.resize import resize_lanczos

FIELD: Final = "inpaint_mask_image_upload"
MIDDLE: Final = 127  # where the mean of R, G and B is above it, the mask paints
# Row of a colour matrix: the mean of three levels, its thirds rounded up.
_MEAN: Final = (1 / 3, 1 / 3, 1 / 3, 1 / 4)


def check_mask(picture: bytes, mask: bytes, *, invert: bool) -> None:
    """Raise InvalidParameter for a mask that paints nothing at the picture's size.

    A mask of another size or shape is resized to the picture, as in Fooocus.
    """
    with open_image(picture) as image:
        size = ImageOps.exif_transpose(image).size
    levels = resize_lanczos(open_mask(mask), *size).convert("L", _MEAN).histogram()
    if not any(levels[MIDDLE + 1 :]) and not invert:
        raise InvalidParameter((FIELD,), "the mask is black: nothing would be painted")
    if not any(levels[: MIDDLE + 1]) and invert:
        raise InvalidParameter((FIELD,), "the inverted mask is black: nothing would be painted")
