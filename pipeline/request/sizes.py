"""Image sizes: those a request asks for, and those at which a model works.

The *shape ceiling* of a size is the side of the square with as many pixels, rounded up to a
multiple of a step.
"""

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from pipeline.request.decode import parse_aspect_ratio
from pipeline.request.schema import GenerateParams

STEP: Final = 64  # pixels; for SDXL
LATENT_FACTOR: Final = 8  # pixels a latent cell, each way
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


class ImageSize(msgspec.Struct, frozen=True, kw_only=True):
    """Size of a request's images in pixels.

    The model works at ``native_width`` x ``native_height`` (multiples of 8); the image is then
    resized to ``width`` x ``height`` if that differs.
    """

    width: int
    height: int
    native_width: int
    native_height: int
    asked_width: int
    asked_height: int
    note: str = ""  # where it is not the size asked for

    @classmethod
    def same(cls, width: int, height: int) -> "ImageSize":
        """The size of an image that is not resized."""
        return cls(
            width=width,
            height=height,
            native_width=width,
            native_height=height,
            asked_width=width,
            asked_height=height,
        )

    @property
    def resized(self) -> bool:
        """Whether the sampled image is resized."""
        return (self.width, self.height) != (self.native_width, self.native_height)

    @property
    def native(self) -> tuple[int, int]:
        """Width and height at which the model works."""
        return self.native_width, self.native_height

    @property
    def asked(self) -> tuple[int, int]:
        """Width and height that were asked for, which need not be whole latents."""
        return self.asked_width, self.asked_height

    @property
    def hint(self) -> tuple[int, int]:
        """Width and height of control hints: as asked, or that of a model with sizes of its own."""
        return self.native if self.resized else self.asked


def image_size(
    params: GenerateParams,
    native_sizes: Sequence[tuple[int, int]] = (),
    grid: int = LATENT_FACTOR,
) -> ImageSize:
    """The size of a request's images; ``native_sizes`` are those the model is limited to, if any.

    Of them the one of the nearest shape is used; other models get whole multiples of ``grid``
    pixels.
    """
    asked = asked_size(params)
    if native_sizes:
        native = min(native_sizes, key=lambda size: _shape_distance(size, asked))
        made, how = asked, "resized"
    else:
        native = made = on_grid(*asked, grid)
        how = f"whole latents of {grid} pixels"
    note = f"asked {asked[0]}x{asked[1]}, made {native[0]}x{native[1]} ({how})"
    return ImageSize(
        width=made[0],
        height=made[1],
        native_width=native[0],
        native_height=native[1],
        asked_width=asked[0],
        asked_height=asked[1],
        note=note if asked != native else "",
    )


def asked_size(params: GenerateParams) -> tuple[int, int]:
    """Width and height of the request, overrides included."""
    width, height = parse_aspect_ratio(params.aspect_ratios_selection) or (1024, 1024)
    if params.overwrite_width > 0:
        width = params.overwrite_width
    if params.overwrite_height > 0:
        height = params.overwrite_height
    return width, height


def on_grid(width: int, height: int, grid: int) -> tuple[int, int]:
    """Width and height rounded down to multiples of ``grid``, of which there is at least one."""
    return max(grid, width - width % grid), max(grid, height - height % grid)


def _shape_distance(size: tuple[int, int], asked: tuple[int, int]) -> float:
    return abs(math.log(size[0] / size[1]) - math.log(asked[0] / asked[1]))
