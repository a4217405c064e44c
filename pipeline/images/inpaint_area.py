"""The part of a picture that is painted anew: where it is, what is shown of it, how it goes back.

Knows no model: a network paints ``shown`` where ``mask`` is white, and ``paste`` puts that back.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from pipeline.images.mask_check import MIDDLE
from pipeline.images.masks import Pixels, binary, soften_mask
from pipeline.images.resize import resize_lanczos
from pipeline.request.sizes import STEP, shape_ceil, size_of_ceil

Enlarge = Callable[[Pixels], Pixels]
"""RGB pixels (H, W, 3) to the same picture, larger, with details made up by a network."""

_ROOM: Final = 1.15  # how much larger than the mask the smallest area is
# Radius of a box blur in pixels, and how often it is done, from coarse to fine.
_FILL_BLURS: Final = ((512, 2), (256, 2), (128, 4), (64, 4), (33, 8), (15, 8), (5, 16), (3, 16))


class Box(NamedTuple):
    """Rows ``top`` to before ``bottom``, columns ``left`` to before ``right``."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top

    def within(self, width: int, height: int) -> "Box":
        """What of it lies inside a picture."""
        top, left = max(0, self.top), max(0, self.left)
        return Box(top, min(height, self.bottom), left, min(width, self.right))

    def cut(self, pixels: Pixels) -> Pixels:
        """These rows and columns of a picture."""
        return pixels[self.top : self.bottom, self.left : self.right]


@dataclass(frozen=True, slots=True)
class InpaintArea:
    """A picture and its area. All uint8; the last three are as large as the model is shown it."""

    picture: Pixels  # (H, W, 3)
    soft_mask: Pixels  # (H, W)
    box: Box
    shown: Pixels  # (h, w, 3)
    mask: Pixels  # (h, w), 0 or 255
    filled: Pixels  # (h, w, 3): ``shown``, painted over under the mask by what is around it

    def paste(self, made: Pixels) -> Pixels:
        """The whole picture with ``made`` (of any size) in its place.

        Where the soft mask is 0, 32 pixels outside of the mask, every pixel stays as it was.
        """
        whole = self.picture.copy()
        box = self.box
        whole[box.top : box.bottom, box.left : box.right] = resized(made, box.width, box.height)
        return self.blend(whole)

    def blend(self, made: Pixels) -> Pixels:
        """``made``, as large as the picture, over it through the soft mask; truncated to levels."""
        weight: NDArray[np.float32] = self.soft_mask[:, :, None].astype(np.float32) / 255.0
        blended = made.astype(np.float32) * weight
        blended += self.picture.astype(np.float32) * (1.0 - weight)
        return blended.clip(0.0, 255.0).astype(np.uint8)


class Shown(NamedTuple):
    """How an area is shown to a model: at the shape ceiling ``ceil`` counted in steps of ``step``.

    A smaller one is made larger by ``enlarge`` first; None: it is only resampled.
    """

    ceil: int
    step: int = STEP
    enlarge: Enlarge | None = None

    def __call__(self, pixels: Pixels) -> Pixels:
        """The pixels as the model is to see them."""
        height, width = pixels.shape[:2]
        if self.enlarge is not None and shape_ceil(width, height, self.step) < self.ceil:
            pixels = self.enlarge(pixels)
            height, width = pixels.shape[:2]
        return resized(pixels, *size_of_ceil(width, height, self.ceil, self.step))


def make_area(picture: Pixels, mask: Pixels, field: float, shown_as: Shown) -> InpaintArea:
    """The area of a mask that has something in it.

    ``field`` is the part of the picture's sides that the area reaches at least; 1 is the whole
    picture. What is under the mask is not painted over yet (``with_fill``).
    """
    height, width = mask.shape
    box = grow_box(find_box(mask), field, width, height)
    shown = shown_as(box.cut(picture))
    small_mask = binary(resized(box.cut(mask), shown.shape[1], shown.shape[0]))
    return InpaintArea(picture, soften_mask(mask), box, shown, small_mask, shown)


def with_fill(area: InpaintArea) -> InpaintArea:
    """The area painted over under its mask."""
    filled = fill(area.shown, area.mask)
    return InpaintArea(area.picture, area.soft_mask, area.box, area.shown, area.mask, filled)


def find_box(mask: Pixels) -> Box:
    """The smallest area of a mask: a square with some room around all that is not 0, cut off at
    the picture's edges. Raises ValueError for a mask with nothing in it."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        raise ValueError("the mask has nothing in it")
    y, x = (int(ends[0] + ends[-1]) // 2 for ends in (rows, columns))
    half = max(int(ends[-1] - ends[0]) // 2 for ends in (rows, columns))
    reach = int(half * _ROOM)
    height, width = mask.shape
    return Box(y - reach, y + reach + 1, x - reach, x + reach + 1).within(width, height)


def grow_box(box: Box, field: float, width: int, height: int) -> Box:
    """The area grown a pixel on two sides at a time, the shorter ones first, up to ``field``."""
    if field >= 1.0:
        return Box(0, height, 0, width)
    while box.height < height * field or box.width < width * field:
        wider = box.height >= box.width or box.height == height
        taller = box.height < box.width or box.width == width
        y, x = int(taller), int(wider)
        grown = Box(box.top - y, box.bottom + y, box.left - x, box.right + x)
        box = grown.within(width, height)
    return box


def fill(pixels: Pixels, mask: Pixels) -> Pixels:
    """RGB pixels (H, W, 3), under the mask painted over with blurs of what is around it."""
    kept = mask < MIDDLE
    made = pixels
    for radius, times in _FILL_BLURS:
        blur = ImageFilter.BoxBlur(radius)
        for _ in range(times):
            made = np.array(Image.fromarray(made).filter(blur))
            made[kept] = pixels[kept]
    return made


def resized(pixels: Pixels, width: int, height: int) -> Pixels:
    """Grey or RGB pixels at another size."""
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.asarray(resize_lanczos(Image.fromarray(pixels), width, height))
