"""How near two pictures are, and what colour a place in one has."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from tools.embedded.metrics import nearest_colour

Pixels = NDArray[np.float64]
Mask = NDArray[np.bool_]


def pixels(image: Image.Image) -> Pixels:
    """(H, W, 3), 0...255."""
    return np.asarray(image.convert("RGB"), np.float64)


def distance(one: Image.Image, other: Image.Image) -> float:
    """Root mean square difference in levels; the second is brought to the first one's size."""
    sized = other if other.size == one.size else other.resize(one.size, Image.Resampling.LANCZOS)
    return float(np.sqrt(((pixels(one) - pixels(sized)) ** 2).mean()))


def psnr(one: Image.Image, other: Image.Image) -> float:
    """Peak signal-to-noise ratio in dB."""
    return float(20.0 * np.log10(255.0 / max(distance(one, other), 1e-6)))


def colour_within(image: Image.Image, where: Mask) -> str:
    """The nearest of the twelve colours to the median of a region."""
    median: Pixels = np.median(pixels(image)[where], axis=0)
    return nearest_colour(median)


def colour_share(image: Image.Image, where: Mask, rgb: tuple[int, int, int]) -> float:
    """Share of a region's pixels of which this is the nearest of the twelve colours."""
    region = pixels(image)[where]
    wanted = nearest_colour(np.array(rgb, np.float64))
    return float(np.mean([nearest_colour(pixel) == wanted for pixel in region[::7]]))


def edges(image: Image.Image, level: float = 40.0) -> Mask:
    """Where any of the three colours changes fast, some pixels wide: hues differ at one grey."""
    smooth = pixels(image.convert("RGB").filter(ImageFilter.GaussianBlur(1.2)))
    down, across = np.gradient(smooth, axis=(0, 1))
    strong: Mask = np.hypot(down, across).max(axis=2) * 4.0 > level
    return strong


def edge_overlap(made: Image.Image, wanted: Image.Image, reach: int = 2) -> float:
    """F1 of two pictures' edges, where one within ``reach`` pixels counts as met."""
    first, second = edges(made), edges(wanted)
    if not first.any() or not second.any():
        return 0.0
    precision = (first & _grown(second, reach)).sum() / first.sum()
    recall = (second & _grown(first, reach)).sum() / second.sum()
    return float(2.0 * precision * recall / max(precision + recall, 1e-9))


def _grown(mask: Mask, reach: int) -> Mask:
    picture = Image.fromarray(mask.astype(np.uint8) * 255)
    grown: Mask = np.asarray(picture.filter(ImageFilter.MaxFilter(2 * reach + 1))) > 0
    return grown
