"""The plain shapes, each drawn around the board's centre with half-size 1."""

import math
from collections.abc import Callable, Mapping
from typing import Final

from tools.embedded.drawing import Board, Point
from tools.embedded.vocabulary import Colour

ShapePainter = Callable[[Board, Colour, float], None]

# Shapes whose centre shows the background.
HOLLOW: Final = frozenset({"ring", "crescent"})


def _corners(count: int, radius: float, first: float) -> list[Point]:
    """Corners of a regular polygon; ``first`` is the first one's angle in radians."""
    angles = (first + 2 * math.pi * i / count for i in range(count))
    return [(radius * math.cos(angle), radius * math.sin(angle)) for angle in angles]


def _circle(board: Board, colour: Colour, _rotation: float) -> None:
    board.disc((0, 0), 1, colour)


def _square(board: Board, colour: Colour, rotation: float) -> None:
    board.polygon(_corners(4, 1.28, rotation - math.pi / 4), colour)


def _triangle(board: Board, colour: Colour, rotation: float) -> None:
    corners = _corners(3, 1.18, rotation - math.pi / 2)
    board.polygon([(x, y + 0.2) for x, y in corners], colour)


def _star(board: Board, colour: Colour, rotation: float) -> None:
    tips = _corners(5, 1.15, rotation - math.pi / 2)
    notches = _corners(5, 0.48, rotation - math.pi / 2 + math.pi / 5)
    board.polygon([p for pair in zip(tips, notches, strict=True) for p in pair], colour)


def _heart(board: Board, colour: Colour, _rotation: float) -> None:
    points = []
    for i in range(60):
        t = 2 * math.pi * i / 60
        x = 16 * math.sin(t) ** 3
        y = 5 * math.cos(2 * t) + 2 * math.cos(3 * t) + math.cos(4 * t) - 13 * math.cos(t)
        points.append((x / 16, (y - 2) / 15))
    board.polygon(points, colour)


def _diamond(board: Board, colour: Colour, _rotation: float) -> None:
    board.polygon([(0, -1.2), (0.8, 0), (0, 1.2), (-0.8, 0)], colour)


def _hexagon(board: Board, colour: Colour, rotation: float) -> None:
    board.polygon(_corners(6, 1.1, rotation), colour)


def _cross(board: Board, colour: Colour, _rotation: float) -> None:
    board.box((-0.36, -1, 0.36, 1), colour)
    board.box((-1, -0.36, 1, 0.36), colour)


def _ring(board: Board, colour: Colour, _rotation: float) -> None:
    board.pierced_disc(1.05, (0, 0), 0.58, colour)


def _crescent(board: Board, colour: Colour, _rotation: float) -> None:
    board.pierced_disc(1, (0.5, -0.15), 0.82, colour)


SHAPE_PAINTERS: Final[Mapping[str, ShapePainter]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "heart": _heart,
    "diamond": _diamond,
    "hexagon": _hexagon,
    "cross": _cross,
    "ring": _ring,
    "crescent": _crescent,
}
