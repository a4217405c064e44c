"""The objects, each in one main colour around the board's centre with half-size about 1."""

import math
from collections.abc import Callable, Mapping
from typing import Final

from tools.embedded.drawing import Board, darken, is_dark, lighten
from tools.embedded.shapes import SHAPE_PAINTERS
from tools.embedded.vocabulary import Colour

ObjectPainter = Callable[[Board, Colour], None]

PUPIL: Final = (20, 20, 24)
EYE_WHITE: Final = (250, 250, 248)
GLASS: Final = (190, 225, 245)
SIDES: Final = (-1, 1)


def _cat(board: Board, colour: Colour) -> None:
    board.ellipse((0, 0.62), (0.55, 0.5), colour)
    head = board.moved(0, -0.25)
    for q in SIDES:
        head.polygon([(q * 0.62, -0.78), (q * 0.6, 0), (q * 0.08, -0.42)], colour)
        inner = [(q * 0.52, -0.58), (q * 0.48, -0.2), (q * 0.24, -0.42)]
        head.polygon(inner, lighten(colour, 0.55))
    head.ellipse((0, 0), (0.66, 0.55), colour)
    for q in SIDES:
        head.ellipse((q * 0.26, -0.06), (0.14, 0.17), EYE_WHITE)
        head.ellipse((q * 0.26, -0.05), (0.07, 0.13), PUPIL)
    head.polygon([(-0.08, 0.14), (0.08, 0.14), (0, 0.24)], (240, 130, 150))
    for q in SIDES:
        for tilt in (-0.06, 0.06):
            whisker = [(q * 0.25, 0.22), (q * 0.8, 0.2 + tilt * 2)]
            head.line(whisker, darken(colour, 0.35), 0.03)


def _fish(board: Board, colour: Colour) -> None:
    fin = darken(colour, 0.35)
    board.polygon([(0.5, 0), (1.1, -0.5), (1.1, 0.5)], fin)
    board.polygon([(-0.1, -0.35), (0.35, -0.85), (0.45, -0.25)], fin)
    board.ellipse((-0.1, 0), (0.85, 0.52), colour)
    board.ellipse((-0.1, 0.2), (0.6, 0.26), lighten(colour, 0.4))
    board.disc((-0.55, -0.12), 0.14, EYE_WHITE)
    board.disc((-0.57, -0.12), 0.07, PUPIL)


def _flower(board: Board, colour: Colour) -> None:
    leaf = (50, 150, 60)
    board.line([(0, 0), (0, 1.15)], leaf, 0.13)
    board.ellipse((0.26, 0.8), (0.26, 0.11), leaf)
    blossom = board.moved(0, -0.25)
    for i in range(6):
        angle = math.pi / 3 * i + 0.3
        blossom.disc((0.45 * math.cos(angle), 0.45 * math.sin(angle)), 0.32, colour)
    is_yellowish = colour[0] >= 235 and colour[2] <= 90
    blossom.disc((0, 0), 0.26, (120, 70, 30) if is_yellowish else (250, 205, 50))


def _tree(board: Board, colour: Colour) -> None:
    board.box((-0.13, 0.1, 0.13, 1.1), (110, 70, 40))
    for x, y, radius in ((-0.4, 0, 0.45), (0.4, 0, 0.45), (0, -0.45, 0.55), (0, 0.02, 0.5)):
        board.disc((x, y - 0.1), radius, colour)
    board.ellipse((-0.15, -0.6), (0.22, 0.2), lighten(colour, 0.18))


def _house(board: Board, colour: Colour) -> None:
    board.box((-0.75, -0.1, 0.75, 0.95), colour)
    roof = (150, 60, 50) if is_dark(colour) else darken(colour, 0.35)
    board.polygon([(-0.95, -0.1), (0, -0.95), (0.95, -0.1)], roof)
    door = (190, 140, 90) if is_dark(colour) else darken(colour, 0.55)
    board.box((-0.16, 0.4, 0.2, 0.95), door)
    for x in (-0.48, 0.48):
        board.box((x - 0.15, 0.12, x + 0.15, 0.4), (255, 240, 170))


def _car(board: Board, colour: Colour) -> None:
    board.polygon([(-0.55, -0.05), (-0.35, -0.5), (0.35, -0.5), (0.62, -0.05)], colour)
    board.polygon([(-0.42, -0.05), (-0.28, -0.4), (-0.03, -0.4), (-0.03, -0.05)], GLASS)
    board.polygon([(0.05, -0.05), (0.05, -0.4), (0.3, -0.4), (0.46, -0.05)], GLASS)
    board.box((-1.05, -0.08, 1.05, 0.42), colour, radius=0.14)
    for x in (-0.58, 0.58):
        board.disc((x, 0.42), 0.25, (30, 30, 34))
        board.disc((x, 0.42), 0.11, (190, 190, 195))


def _boat(board: Board, colour: Colour) -> None:
    board.line([(0, -1.05), (0, 0.4)], (110, 75, 45), 0.08, least=3)
    board.polygon([(0.07, -1), (0.8, 0.22), (0.07, 0.22)], EYE_WHITE)
    board.polygon([(-0.07, -0.8), (-0.6, 0.22), (-0.07, 0.22)], (228, 226, 220))
    board.polygon([(-0.95, 0.35), (0.95, 0.35), (0.6, 0.8), (-0.6, 0.8)], colour)


def _mushroom(board: Board, colour: Colour) -> None:
    board.box((-0.27, -0.05, 0.27, 0.95), (240, 228, 205), radius=0.2)
    board.slice((-0.95, -0.9, 0.95, 0.9), (180, 360), colour)
    board.ellipse((0, 0), (0.95, 0.1), colour)
    spot = EYE_WHITE if sum(colour) < 680 else (220, 60, 60)
    for x, y, radius in (
        (-0.45, -0.3, 0.15),
        (0.1, -0.55, 0.17),
        (0.52, -0.25, 0.13),
        (-0.05, -0.17, 0.1),
    ):
        board.disc((x, y), radius, spot)


def _bird(board: Board, colour: Colour) -> None:
    wing = darken(colour, 0.35)
    board.polygon([(0.4, 0.1), (1.1, -0.2), (1.05, 0.28)], wing)
    board.ellipse((0, 0.15), (0.68, 0.5), colour)
    board.disc((-0.5, -0.35), 0.36, colour)
    board.polygon([(-0.82, -0.45), (-1.15, -0.3), (-0.82, -0.2)], (250, 165, 40))
    board.disc((-0.58, -0.42), 0.08, EYE_WHITE if is_dark(colour) else PUPIL)
    board.ellipse((0.12, 0.1), (0.38, 0.24), wing)
    for x in (-0.12, 0.14):
        board.line([(x, 0.6), (x, 0.95)], (220, 140, 40), 0.06)


def _balloon(board: Board, colour: Colour) -> None:
    board.line([(0, 0.6), (0, 1.2)], (90, 90, 90), 0.04)
    board.ellipse((0, -0.15), (0.68, 0.8), colour)
    board.polygon([(-0.12, 0.76), (0.12, 0.76), (0, 0.6)], darken(colour, 0.35))
    board.ellipse((-0.25, -0.45), (0.13, 0.2), lighten(colour, 0.5))


def _butterfly(board: Board, colour: Colour) -> None:
    body = (50, 35, 30)
    for q in SIDES:
        board.ellipse((q * 0.5, -0.35), (0.46, 0.48), colour)
        lower = (90, 90, 100) if is_dark(colour) else darken(colour, 0.35)
        board.ellipse((q * 0.42, 0.42), (0.36, 0.38), lower)
        board.ellipse((q * 0.52, -0.35), (0.19, 0.2), lighten(colour, 0.4))
    board.ellipse((0, 0), (0.1, 0.68), body)
    for q in SIDES:
        board.line([(0, -0.6), (q * 0.3, -1)], body, 0.05)


def _rocket(board: Board, colour: Colour) -> None:
    trim = darken(colour, 0.35)
    board.polygon([(-0.2, 0.6), (0.2, 0.6), (0, 1.2)], (250, 150, 30))
    for q in SIDES:
        fin = [(q * 0.3, 0.1), (q * 0.7, 0.75), (q * 0.3, 0.6)]
        board.polygon(fin, (120, 40, 40) if is_dark(colour) else trim)
    board.ellipse((0, -0.15), (0.36, 0.95), colour)
    board.box((-0.3, 0.45, 0.3, 0.64), trim)
    board.disc((0, -0.3), 0.19, EYE_WHITE)
    board.disc((0, -0.3), 0.13, (110, 190, 235))


def _robot(board: Board, colour: Colour) -> None:
    joint = darken(colour, 0.35)
    board.line([(0, -0.85), (0, -1.1)], joint, 0.07, least=3)
    board.disc((0, -1.1), 0.1, (240, 70, 60))
    board.box((-0.5, -0.85, 0.5, -0.1), colour, radius=0.12)
    board.box((-0.6, 0, 0.6, 0.8), colour, radius=0.1)
    for q in SIDES:
        board.disc((q * 0.22, -0.52), 0.13, EYE_WHITE)
        board.disc((q * 0.22, -0.52), 0.06, PUPIL)
        board.box((q * 0.8 - 0.12, 0.05, q * 0.8 + 0.12, 0.65), joint, radius=0.08)
        board.box((q * 0.3 - 0.14, 0.8, q * 0.3 + 0.14, 1.1), joint)
    board.box((-0.25, -0.28, 0.25, -0.2), joint)
    board.box((-0.3, 0.2, 0.3, 0.55), lighten(colour, 0.4))


def _cup(board: Board, colour: Colour) -> None:
    board.arc((0.3, -0.3, 1, 0.45), (-90, 90), colour, 0.16)
    board.polygon([(-0.65, -0.5), (0.65, -0.5), (0.5, 0.75), (-0.5, 0.75)], colour)
    board.ellipse((0, 0.73), (0.5, 0.12), colour)
    board.ellipse((0, -0.5), (0.65, 0.15), darken(colour, 0.35))
    for x in (-0.25, 0.1):
        # Without the curved joint of longer lines: the steam's bend stays sharp.
        board.line([(x, -0.75), (x + 0.1, -0.9)], (200, 200, 205), 0.06, least=3)
        board.line([(x + 0.1, -0.9), (x, -1.1)], (200, 200, 205), 0.06, least=3)


OBJECT_PAINTERS: Final[Mapping[str, ObjectPainter]] = {
    "cat": _cat,
    "fish": _fish,
    "flower": _flower,
    "tree": _tree,
    "house": _house,
    "car": _car,
    "boat": _boat,
    "mushroom": _mushroom,
    "bird": _bird,
    "balloon": _balloon,
    "butterfly": _butterfly,
    "rocket": _rocket,
    "robot": _robot,
    "cup": _cup,
}


def draw_figure(board: Board, name: str, colour: Colour, rotation: float = 0) -> None:
    """Draw a shape or an object. ``rotation`` is in radians and turns some of the shapes."""
    if name in SHAPE_PAINTERS:
        SHAPE_PAINTERS[name](board, colour, rotation)
    else:
        OBJECT_PAINTERS[name](board, colour)
