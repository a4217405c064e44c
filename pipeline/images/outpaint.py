"""More room around a picture, for a model to paint in."""

from collections.abc import Collection
from typing import Final, NamedTuple

import numpy as np

from pipeline.images.masks import Pixels
from pipeline.request.choices import OutpaintSide

_SHARE: Final = 0.3  # of the picture's side, on a side that has no distance of its own


class Margins(NamedTuple):
    """Pixels that a picture grows by on each side."""

    left: int
    top: int
    right: int
    bottom: int


def margins(
    sides: Collection[OutpaintSide],
    distances: tuple[int, int, int, int],
    width: int,
    height: int,
) -> Margins:
    """By how much a picture of that size grows: each side's distance, or 30 % if it is named."""
    named = ("Left" in sides, "Top" in sides, "Right" in sides, "Bottom" in sides)
    along = (width, height, width, height)
    grown = (
        distance or (int(side * _SHARE) if chosen else 0)
        for distance, side, chosen in zip(distances, along, named, strict=True)
    )
    return Margins(*grown)


def extend(picture: Pixels, mask: Pixels, by: Margins) -> tuple[Pixels, Pixels]:
    """Picture (H, W, 3) with its edges drawn out, and mask (H, W) with the new room in it."""
    around = ((by.top, by.bottom), (by.left, by.right))
    wider = np.pad(picture, (*around, (0, 0)), mode="edge")
    return wider, np.pad(mask, around, constant_values=255)
