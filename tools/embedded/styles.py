"""Filters that turn a drawn picture into watercolour, line art, pastel or pixel art."""

import random
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter

Floats = NDArray[np.float32]

PIXEL_BLOCK: Final = 16  # of the drawn picture, which is twice as large as the finished one
PAPER: Final = (250, 248, 242)


def apply_style(image: Image.Image, style: str, rng: random.Random) -> Image.Image:
    """``flat`` is how everything is drawn, so it changes nothing."""
    return FILTERS[style](image, rng) if style in FILTERS else image


def _as_image(values: Floats) -> Image.Image:
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def _pastel(image: Image.Image, _rng: random.Random) -> Image.Image:
    return _as_image(np.asarray(image, np.float32) * 0.42 + 255 * 0.56 - 3)


def _line_art(image: Image.Image, _rng: random.Random) -> Image.Image:
    reach = max(3, int(min(image.size) / 110) | 1)
    edges = [
        ImageChops.difference(
            channel.filter(ImageFilter.MaxFilter(reach)),
            channel.filter(ImageFilter.MinFilter(reach)),
        )
        for channel in image.split()
    ]
    strongest = np.maximum.reduce([np.asarray(edge) for edge in edges]).astype(np.float32)
    ink = Image.fromarray((255 - np.clip((strongest - 22) * 6, 0, 235)).astype(np.uint8))
    return Image.merge("RGB", [ink] * 3)


def _pixel_art(image: Image.Image, _rng: random.Random) -> Image.Image:
    width, height = (side // PIXEL_BLOCK // 2 * 2 for side in image.size)
    small = image.resize((width, height), Image.Resampling.BOX)
    return small.quantize(20).convert("RGB").resize(image.size, Image.Resampling.NEAREST)


def _watercolor(image: Image.Image, rng: random.Random) -> Image.Image:
    width, height = image.size
    noise = np.random.default_rng(rng.getrandbits(32))

    def cloud(cells: int) -> Floats:
        """Smooth noise in -0.5..0.5 with ``cells`` bumps a side."""
        bumps = Image.fromarray((noise.random((cells, cells)) * 255).astype(np.uint8))
        smooth = bumps.resize((width, height), Image.Resampling.BICUBIC)
        values: Floats = np.asarray(smooth, np.float32) / np.float32(255) - np.float32(0.5)
        return values

    shift_x, shift_y = cloud(14) * width * 0.022, cloud(14) * height * 0.022
    rows, columns = np.mgrid[0:height, 0:width]
    blurred = np.asarray(image.filter(ImageFilter.GaussianBlur(width * 0.006)), np.float32)
    from_rows = (rows + shift_y).clip(0, height - 1).astype(int)
    from_columns = (columns + shift_x).clip(0, width - 1).astype(int)
    wash = (cloud(6) * 0.55 + cloud(18) * 0.45)[..., None]
    painted = blurred[from_rows, from_columns] * 0.74 + 255 * 0.24 + wash * 40
    across = np.minimum(columns, width - 1 - columns)
    down = np.minimum(rows, height - 1 - rows)
    margin = np.minimum(across, down) / min(width, height) + cloud(12) * 0.05
    share = np.clip((margin - 0.02) / 0.035, 0, 1)[..., None]
    return _as_image(painted * share + np.array(PAPER) * (1 - share))


FILTERS: Final[Mapping[str, Callable[[Image.Image, random.Random], Image.Image]]] = {
    "pastel": _pastel,
    "line art": _line_art,
    "pixel art": _pixel_art,
    "watercolor": _watercolor,
}
