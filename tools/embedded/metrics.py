"""Does a picture show the asked shape in the asked colours? Measured without another model."""

import random
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tools.embedded.captions import Triple
from tools.embedded.drawing import Board, jitter
from tools.embedded.objects import draw_figure
from tools.embedded.shapes import HOLLOW
from tools.embedded.vocabulary import COLOURS, FULL

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

MASK_SIDE: Final = 48
LEAST_PIXELS: Final = 60  # a smaller figure has no shape to speak of
FIGURE_DISTANCE: Final = 60.0  # in RGB from the background's own tone

NAMES: Final = tuple(COLOURS)
VALUES: Final[Floats] = np.array(list(COLOURS.values()), np.float64)


class Verdict(NamedTuple):
    """What is right about one picture."""

    figure_colour: bool
    background_colour: bool
    shape: bool

    @property
    def colours(self) -> bool:
        return self.figure_colour and self.background_colour


def judge(image: Image.Image, asked: Triple, templates: Mapping[str, Mask]) -> Verdict:
    """Colours by the nearest of twelve, the shape by the best of ten templates."""
    pixels = np.asarray(image.convert("RGB"), np.float64)
    border = border_colour(pixels)
    colour = figure_colour(pixels, border, hollow=asked.shape in HOLLOW)
    nearer = squared_distance(pixels, COLOURS[asked.colour]) < squared_distance(
        pixels, COLOURS[asked.background]
    )
    mask = normalised(nearer)
    overlaps = {shape: overlap(mask, template) for shape, template in templates.items()}
    return Verdict(
        nearest_colour(colour) == asked.colour,
        nearest_colour(border) == asked.background,
        max(overlaps, key=lambda shape: overlaps[shape]) == asked.shape,
    )


def shape_templates() -> dict[str, Mask]:
    """Every shape there is, also those a small model does not know."""
    templates = {}
    for shape in FULL.shapes:
        image = Image.new("RGB", (256, 256))
        draw_figure(Board(image, (128, 128), 70), shape, (255, 255, 255))
        templates[shape] = normalised(np.asarray(image)[..., 0] > 127)
    return templates


def nearest_colour(rgb: Floats) -> str:
    return NAMES[int(((VALUES - rgb) ** 2).sum(1).argmin())]


def border_colour(pixels: Floats) -> Floats:
    """Mean of a frame one sixteenth of the height wide."""
    edge = len(pixels) // 16
    bands = (pixels[:edge], pixels[-edge:], pixels[:, :edge], pixels[:, -edge:])
    mean: Floats = np.concatenate([band.reshape(-1, 3) for band in bands]).mean(0)
    return mean


def figure_colour(pixels: Floats, border: Floats, *, hollow: bool) -> Floats:
    """Mean of the centre; of a hollow figure the median of all that is not background."""
    height, width = pixels.shape[:2]
    reach = height // 16
    centre = pixels[
        height // 2 - reach : height // 2 + reach, width // 2 - reach : width // 2 + reach
    ]
    mean: Floats = centre.mean((0, 1))
    if not hollow:
        return mean
    figure = pixels[((pixels - border) ** 2).sum(-1) > FIGURE_DISTANCE**2]
    if len(figure) < LEAST_PIXELS:
        return mean
    median: Floats = np.median(figure, 0)
    return median


def squared_distance(pixels: Floats, colour: tuple[int, int, int]) -> Floats:
    distance: Floats = ((pixels - np.array(colour, np.float64)) ** 2).sum(-1)
    return distance


def normalised(mask: Mask) -> Mask:
    """The figure cut out and brought to one size, so that only its outline counts."""
    rows, columns = np.where(mask)
    if len(rows) < LEAST_PIXELS:
        return np.zeros((MASK_SIDE, MASK_SIDE), np.bool_)
    cut = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    picture = Image.fromarray(cut.astype(np.uint8) * 255).resize((MASK_SIDE, MASK_SIDE))
    return np.asarray(picture) > 127


def overlap(first: Mask, second: Mask) -> float:
    """Intersection over union."""
    return float((first & second).sum() / max(1, (first | second).sum()))


def draw_triple(triple: Triple, seed: int) -> Image.Image:
    """What a perfect model would make: the metric's own ceiling is measured on these."""
    rng = random.Random(seed)
    image = Image.new("RGB", (512, 512), jitter(COLOURS[triple.background], rng))
    centre = (256 + rng.uniform(-30, 30), 256 + rng.uniform(-30, 30))
    half = 512 * rng.uniform(0.36, 0.52) / 2
    draw_figure(Board(image, centre, half), triple.shape, jitter(COLOURS[triple.colour], rng))
    return image.resize((256, 256))


def summary(verdicts: Iterable[Verdict]) -> dict[str, float]:
    """Shares of pictures that are right."""
    rows = list(verdicts)
    counts = {
        "figure_colour": sum(row.figure_colour for row in rows),
        "background_colour": sum(row.background_colour for row in rows),
        "both_colours": sum(row.colours for row in rows),
        "shape": sum(row.shape for row in rows),
        "all": sum(row.colours and row.shape for row in rows),
    }
    return {name: round(count / max(1, len(rows)), 3) for name, count in counts.items()}
