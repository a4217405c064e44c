"""Sizes at which a model is shown pictures, counted in steps of 64 pixels. Torch-free.

A size's *shape ceiling* is the side of the square of as many pixels, rounded up to such a step.
"""

import math
from collections.abc import Sequence
from typing import Final

STEP: Final = 64  # pixels
_ROUNDS: Final = 256  # after which a size whose rounding goes in circles is taken as it is


def shape_ceil(width: float, height: float) -> int:
    """The shape ceiling of a size."""
    return math.ceil(math.sqrt(width * height) / STEP) * STEP


def size_of_ceil(width: int, height: int, ceil: int) -> tuple[int, int]:
    """Width and height of nearly the same shape whose ceiling is ``ceil``, a multiple of 64.

    A size that has that ceiling already stays as it is; others become multiples of 64.
    """
    for _ in range(_ROUNDS):
        current = shape_ceil(width, height)
        if current == ceil:
            break
        width, height = (_stepped(side * ceil / current) for side in (width, height))
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


def _stepped(side: float) -> int:
    return max(STEP, round(side / STEP) * STEP)
