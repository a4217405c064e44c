"""Whether a mask can be painted in, told from the encoded pictures. Torch-free."""

from typing import Final

from pipeline.errors import InvalidParameter
from pipeline.images.encode import open_mask, open_upright

FIELD: Final = "inpaint_mask_image_upload"
PAINTED: Final = 127  # grey levels above this are painted
_SHAPE: Final = 0.02  # relative: how far a mask's shape may be from its picture's


def check_mask(picture: bytes, mask: bytes, *, invert: bool) -> None:
    """Raise InvalidParameter for a mask of another shape than its picture, or with nothing in it.

    A mask of the same shape but another size is fine: it is brought to the picture's.
    """
    size, drawn = open_upright(picture).size, open_mask(mask)
    if abs(size[0] * drawn.height / (size[1] * drawn.width) - 1.0) > _SHAPE:
        raise InvalidParameter(
            (FIELD,),
            f"the mask is {drawn.width}x{drawn.height}, the picture {size[0]}x{size[1]};"
            " send a mask of the picture's size",
        )
    levels = drawn.histogram()
    if not any(levels[PAINTED + 1 :]) and not invert:
        raise InvalidParameter((FIELD,), "the mask is black: nothing would be painted")
    if not any(levels[: PAINTED + 1]) and invert:
        raise InvalidParameter((FIELD,), "the inverted mask is black: nothing would be painted")
