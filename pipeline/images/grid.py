"""Several pictures on one, as Fooocus's image grid."""

import math
from collections.abc import Sequence

from PIL import Image


def make_grid(images: Sequence[Image.Image]) -> Image.Image | None:
    """Row by row on black, as near to a square as it goes; None unless two or more of one size."""
    if len(images) < 2 or len({image.size for image in images}) > 1:
        return None
    width, height = images[0].size
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    grid = Image.new("RGB", (columns * width, rows * height))
    for number, image in enumerate(images):
        grid.paste(image, (number % columns * width, number // columns * height))
    return grid
