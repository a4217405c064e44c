"""Sizes at which a model is shown pictures, counted in steps of pixels. Torch-free.

A size's *shape ceiling* is the side of the square of as many pixels, rounded up to whole steps.
"""

import math
from collections.abc import Sequence
from typing import Final

STEP: Final = 64  # pixels; for SDXL
_ROUNDS: Final = 256  # after which a size whose rounding goes in circles is taken as it is


def shape_ceil(width: float, height: float, step: int = STEP) -> int:
    """The shape ceiling of a size."""
    return math.ceil(math.sqrt(width * height) / step) * step


def size_of_ceil(width: int, height: int, ceil: int, step: int = STEP) -> tuple[int, int]:
    """Width and height of nearly the same shape whose ceiling is ``ceil``, in whole steps.

    A size that has that ceiling already stays as it is. A few shapes have no size of just that
    ceiling and get one a step off.
    """
    for _ in range(_ROUNDS):
        current = shape_ceil(width, height, step)
        if current == ceil:
            break
        width, height = (
            max(step, round(side * ceil / current / step) * step) for side in (width, height)
        )
    return width, height


def size_text(width: int, height: int, sizes: Sequence[tuple[int, int]]) -> str:
    """Two lines about a picture: its own size and shape, and those of ``sizes`` nearest to it."""
    shape = round(width / height, 2)
    nearest = min(sizes, key=lambda size: abs(shape - size[0] / size[1]))
    return "\n".join(_described(*size) for size in ((width, height), nearest))


def _described(width: int, height: int) -> str:
    divisor = math.gcd(width, height)
    shape = round(width / height, 2)
    return f"{width} x {height}, {shape}, {width // divisor}:{height // divisor}"
