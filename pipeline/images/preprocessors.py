"""What a control network looks at in place of a picture: its edges, or its structure.

Knows pictures only: no network, no size that a request wants.
"""

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.images.resize import resize_cropped

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

_SCALES: Final = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_COARSER_SHARE: Final = 0.75  # how much of the scales so far stays when a finer one comes
_BLUR_SIGMA: Final = 0.8  # pixels
_WHITE: Final = 255.0


def hwc3(pixels: Pixels) -> Pixels:
    """Grey (H, W) or (H, W, 1), RGB or RGBA, uint8, as RGB (H, W, 3); alpha lies over white."""
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    channels = pixels.shape[2]
    if channels == 1:
        return np.repeat(pixels, 3, axis=2)
    if channels == 3:
        return pixels
    alpha = pixels[:, :, 3:].astype(np.float32) / _WHITE
    flat: Floats = pixels[:, :, :3].astype(np.float32) * alpha + _WHITE * (1.0 - alpha)
    return flat.clip(0.0, _WHITE).astype(np.uint8)


def canny_pyramid(pixels: Pixels, low: int, high: int) -> Pixels:
    """Edges of RGB pixels (H, W, 3) as (H, W): found in each channel and at nine scales.

    ``low`` and ``high`` are Canny's thresholds, 1 to 255. Edges that coarse scales have too are
    brighter.
    """
    height, width = pixels.shape[:2]
    total: Any = None
    for scale in _SCALES:
        size = (max(1, int(width * scale)), max(1, int(height * scale)))
        small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        edges = _canny_channels(small, low, high)
        if total is not None:
            grown = cv2.resize(total, size, interpolation=cv2.INTER_LINEAR)
            edges = grown * _COARSER_SHARE + edges * (1.0 - _COARSER_SHARE)
        total = edges
    return _stretched(total.sum(axis=2), 1, 99)


def cpds(pixels: Pixels) -> Pixels:
    """Structure of RGB pixels (H, W, 3) as (H, W): grey that keeps contrast between colours.

    Contrast-preserving decolourisation (Lu, Xu, Jia 2012) of the slightly blurred picture, and on
    top of it how far each pixel is from its own contrast-boosted colour.
    """
    raw = cv2.GaussianBlur(pixels, (0, 0), _BLUR_SIGMA)
    grey, boosted = cv2.decolor(raw)
    off = raw.astype(np.float32) - boosted.astype(np.float32)
    distance = (off**2).sum(axis=2) ** 0.5
    return _stretched(grey.astype(np.float32) + distance, 4, 96)


def canny_hint(image: Image.Image, low: int, high: int) -> Image.Image:
    """The picture's edges in white on black, RGB: what a network trained on Canny wants."""
    return Image.fromarray(hwc3(canny_pyramid(_pixels(image), low, high)))


def cpds_hint(image: Image.Image) -> Image.Image:
    """The picture's structure, RGB: what a network trained on CPDS wants."""
    return Image.fromarray(hwc3(cpds(_pixels(image))))


def plain_hint(image: Image.Image) -> Image.Image:
    """The picture itself, RGB, where it is a hint already."""
    return Image.fromarray(_pixels(image))


def hint_source(image: Image.Image, width: int, height: int) -> Image.Image:
    """What hints are made from: the middle of the picture, RGB, at the size of the one to make."""
    return resize_cropped(plain_hint(image), width, height)


def _pixels(image: Image.Image) -> Pixels:
    """RGB (H, W, 3) of a picture of any mode; what is transparent is white."""
    has_alpha = image.has_transparency_data
    return hwc3(np.asarray(image.convert("RGBA" if has_alpha else "RGB")))


def _canny_channels(pixels: Pixels, low: int, high: int) -> Floats:
    """Where each channel has edges: 0 or 1, (H, W, 3)."""
    channels = [cv2.Canny(np.ascontiguousarray(pixels[..., i]), low, high) for i in range(3)]
    return np.stack(channels, axis=2).astype(np.float32) / np.float32(_WHITE)


def _stretched(values: Floats, low: int, high: int) -> Pixels:
    """Levels from the ``low``-th to the ``high``-th percentile of the values, truncated.

    Where the percentiles are one value there is nothing to tell apart: black.
    """
    dark, bright = np.percentile(values, low), np.percentile(values, high)
    if bright <= dark:
        return np.zeros(values.shape, np.uint8)
    levels = (values - dark) / (bright - dark) * _WHITE
    return levels.clip(0.0, _WHITE).astype(np.uint8)
