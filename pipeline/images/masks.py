"""Masks of pictures: uint8 (H, W), 255 where something is to be painted, 0 where not."""

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.images.mask_check import MIDDLE
from pipeline.images.resize import resize_lanczos

Pixels = NDArray[np.uint8]

_FULL: Final = 256
_FALL: Final = 8  # levels a pixel away from the mask; after 32 pixels nothing is left
_NEIGHBOURS: Final[NDArray[np.uint8]] = np.ones((3, 3), np.uint8)


def read_mask(image: Image.Image, width: int, height: int) -> Pixels:
    """The mask in an image of any mode, resized: 255 where the mean of R, G and B is above 127."""
    colours = np.asarray(resize_lanczos(image.convert("RGB"), width, height))
    total = colours.sum(axis=2, dtype=np.uint16)
    return np.where(total > 3 * MIDDLE, np.uint8(255), np.uint8(0))


def binary(mask: Pixels) -> Pixels:
    """255 above the middle level, 0 elsewhere."""
    return np.where(mask > MIDDLE, np.uint8(255), np.uint8(0))


def grow_mask(mask: Pixels, pixels: int) -> Pixels:
    """The mask grown by ``pixels`` in each direction, corners too; shrunk below 0."""
    change = cv2.dilate if pixels > 0 else cv2.erode
    return _levels(change(mask, _NEIGHBOURS, iterations=abs(pixels)), mask)


def soften_mask(mask: Pixels) -> Pixels:
    """The mask with a slope outside of its edge, which falls to 0 in 32 pixels."""
    slope = np.where(mask > MIDDLE, np.int16(_FULL), np.int16(0))
    for _ in range(_FULL // _FALL):
        slope = np.maximum(cv2.dilate(slope, _NEIGHBOURS) - _FALL, slope)
    return slope.clip(0, 255).astype(np.uint8)


def _levels(changed: Any, like: Pixels) -> Pixels:
    """OpenCV's result as what it is: levels of the same shape."""
    return np.asarray(changed, np.uint8).reshape(like.shape)
