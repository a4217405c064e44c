"""Masks as people draw them, and what the inpaint head is shown of a masked picture."""

import random
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Mask = NDArray[np.bool_]  # (H, W), true where the picture is to be made anew
Size = tuple[int, int]  # width and height in pixels

GREY: Final = 127  # what the head sees in place of the masked part
LATENT_FACTOR: Final = 8
KINDS: Final = {"box": 0.3, "ellipse": 0.2, "brush": 0.3, "border": 0.2}


def draw_mask(seed: int, size: Size) -> Mask:
    """The mask of number ``seed``: one or two boxes or ellipses, brush strokes, or a border."""
    rng = random.Random(seed * 6007 + 29)
    image = Image.new("L", size, 0)
    draw = ImageDraw.Draw(image)
    kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
    if kind == "border":
        _draw_border(draw, size, rng)
    elif kind == "brush":
        for _ in range(rng.choice((1, 1, 2))):
            _draw_stroke(draw, size, rng)
    else:
        for _ in range(rng.choice((1, 1, 1, 2))):
            box = _random_box(size, rng)
            (draw.rectangle if kind == "box" else draw.ellipse)(box, fill=255)
    return np.array(image, np.uint8) > 127


def grey_masked(pixels: NDArray[np.uint8], mask: Mask) -> NDArray[np.uint8]:
    """The picture (H, W, 3) with its masked part in mid-grey."""
    return np.where(mask[..., None], np.uint8(GREY), pixels)


def latent_mask(mask: Mask) -> Mask:
    """(H/8, W/8): a latent pixel is masked if any of its 8x8 pixels is."""
    height, width = (side // LATENT_FACTOR for side in mask.shape)
    blocks = mask[: height * LATENT_FACTOR, : width * LATENT_FACTOR]
    cells = blocks.reshape(height, LATENT_FACTOR, width, LATENT_FACTOR)
    return np.array(cells.any((1, 3)), np.bool_)


def _random_box(size: Size, rng: random.Random) -> tuple[float, float, float, float]:
    width, height = (side * rng.uniform(0.25, 0.8) for side in size)
    # Around the middle more often than not: that is where figures are.
    x, y = (
        rng.triangular(0, 1, 0.5) * (all_ - own)
        for all_, own in zip(size, (width, height), strict=True)
    )
    return x, y, x + width, y + height


def _draw_border(draw: ImageDraw.ImageDraw, size: Size, rng: random.Random) -> None:
    """One to four sides, as outpainting leaves them."""
    width, height = size
    share = rng.uniform(0.15, 0.4)
    boxes = (
        (0, 0, width * share, height),
        (width * (1 - share), 0, width, height),
        (0, 0, width, height * share),
        (0, height * (1 - share), width, height),
    )
    for box in rng.sample(boxes, rng.choice((1, 1, 2, 4))):
        draw.rectangle(box, fill=255)


def _draw_stroke(draw: ImageDraw.ImageDraw, size: Size, rng: random.Random) -> None:
    unit = min(size)
    x, y = (side * rng.uniform(0.2, 0.8) for side in size)
    radius = unit * rng.uniform(0.06, 0.16)
    for _ in range(rng.randint(2, 6)):
        to_x = x + unit * rng.uniform(-0.35, 0.35)
        to_y = y + unit * rng.uniform(-0.35, 0.35)
        draw.line((x, y, to_x, to_y), fill=255, width=round(2 * radius))
        for at_x, at_y in ((x, y), (to_x, to_y)):
            draw.ellipse((at_x - radius, at_y - radius, at_x + radius, at_y + radius), fill=255)
        x, y = to_x, to_y
