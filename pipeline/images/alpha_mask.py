"""From a picture's transparency to a mask that paints there. Torch-free."""

from PIL import Image, ImageOps

from pipeline.images.encode import encode_image
from pipeline.images.read import open_image

_OPAQUE = 255


def alpha_mask(data: bytes) -> bytes | None:
    """A PNG that is white where the picture is transparent; None for one that is opaque throughout.

    Turned as the picture's EXIF orientation says. Raises UnreadableImage, ImageTooLarge.
    """
    with open_image(data) as image:
        upright = ImageOps.exif_transpose(image)
        if not upright.has_transparency_data:
            return None
        alpha = upright.convert("RGBA").getchannel("A")
    if alpha.getextrema()[0] == _OPAQUE:
        return None
    return encode_image(Image.merge("RGB", [ImageOps.invert(alpha)] * 3), "png")
