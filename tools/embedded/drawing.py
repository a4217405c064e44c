"""Colour arithmetic and the board that figures are drawn on, in units of their own half-size."""

import random
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from tools.embedded.vocabulary import Colour

Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, top, right, bottom
Stop = tuple[float, Colour]  # place 0..1 in a gradient, and the colour there

WHITE: Colour = (255, 255, 255)
BLACK: Colour = (0, 0, 0)


def blend(first: Colour, second: Colour, share: float) -> Colour:
    """``first`` at share 0, ``second`` at share 1."""
    red, green, blue = (int(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def darken(colour: Colour, share: float) -> Colour:
    return blend(colour, BLACK, share)


def lighten(colour: Colour, share: float) -> Colour:
    return blend(colour, WHITE, share)


def is_dark(colour: Colour) -> bool:
    """Too dark for details in a darker tone to show."""
    return sum(colour) <= 150


def jitter(colour: Colour, rng: random.Random, amount: float = 10) -> Colour:
    """A near tone, so that the model learns a colour's neighbourhood and not one value."""
    red, green, blue = (
        int(min(255, max(0, value + rng.uniform(-amount, amount)))) for value in colour
    )
    return red, green, blue


def vertical_gradient(width: int, height: int, stops: Sequence[Stop]) -> Image.Image:
    rows = np.linspace(0, 1, height)
    places = [place for place, _ in stops]
    channels = [np.interp(rows, places, [colour[k] for _, colour in stops]) for k in range(3)]
    column = np.stack(channels, -1).astype(np.uint8)
    return Image.fromarray(np.repeat(column[:, None], width, 1))


class Board:
    """Draws on ``image`` around ``centre`` (pixels), every length in units of ``size`` pixels."""

    def __init__(self, image: Image.Image, centre: Point = (0, 0), size: float = 1) -> None:
        self.image = image
        self.centre = centre
        self.size = size
        self._draw = ImageDraw.Draw(image)

    def moved(self, x: float, y: float, scale: float = 1) -> "Board":
        """The same board with its centre at ``(x, y)`` and its unit ``scale`` times as long."""
        return Board(self.image, self._at((x, y)), self.size * scale)

    def ellipse(self, centre: Point, radii: Point, fill: Colour) -> None:
        self._draw.ellipse(self._around(centre, radii), fill=fill)

    def disc(self, centre: Point, radius: float, fill: Colour) -> None:
        self.ellipse(centre, (radius, radius), fill)

    def polygon(self, points: Sequence[Point], fill: Colour) -> None:
        self._draw.polygon([self._at(point) for point in points], fill=fill)

    def box(self, corners: Box, fill: Colour, radius: float = 0) -> None:
        if radius:
            self._draw.rounded_rectangle(self._box(corners), radius * self.size, fill=fill)
        else:
            self._draw.rectangle(self._box(corners), fill=fill)

    def line(self, points: Sequence[Point], fill: Colour, width: float, least: int = 2) -> None:
        """``width`` in units, but at least ``least`` pixels."""
        joint = "curve" if len(points) > 2 else None
        pixels = max(least, int(self.size * width))
        self._draw.line([self._at(point) for point in points], fill=fill, width=pixels, joint=joint)

    def slice(self, corners: Box, angles: tuple[float, float], fill: Colour) -> None:
        """A piece of the ellipse in ``corners``, between two angles in degrees, clockwise."""
        self._draw.pieslice(self._box(corners), *angles, fill=fill)

    def arc(
        self, corners: Box, angles: tuple[float, float], fill: Colour, width: float, least: int = 1
    ) -> None:
        pixels = max(least, int(self.size * width))
        self._draw.arc(self._box(corners), *angles, fill=fill, width=pixels)

    def pierced_disc(
        self, radius: float, hole_centre: Point, hole_radius: float, fill: Colour
    ) -> None:
        """A disc with a round hole that shows what lies below."""
        mask = Image.new("L", self.image.size, 0)
        draw = ImageDraw.Draw(mask)
        draw.ellipse(self._around((0, 0), (radius, radius)), fill=255)
        draw.ellipse(self._around(hole_centre, (hole_radius, hole_radius)), fill=0)
        self.image.paste(fill, (0, 0), mask)

    def _at(self, point: Point) -> Point:
        return self.centre[0] + self.size * point[0], self.centre[1] + self.size * point[1]

    def _box(self, corners: Box) -> Box:
        left, top, right, bottom = corners
        return *self._at((left, top)), *self._at((right, bottom))

    def _around(self, centre: Point, radii: Point) -> Box:
        (x, y), (rx, ry) = centre, radii
        return self._box((x - rx, y - ry, x + rx, y + ry))
