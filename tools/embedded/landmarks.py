"""What may stand in a landscape: one painter a landmark, around its foot on the ground."""

import math
from collections.abc import Callable, Mapping
from typing import Final

from tools.embedded.drawing import Board, darken, lighten
from tools.embedded.objects import draw_figure
from tools.embedded.skies import Scene
from tools.embedded.vocabulary import Colour

FLOWER_COLOURS: Final[tuple[Colour, ...]] = (
    (235, 60, 80),
    (250, 210, 60),
    (245, 140, 190),
    (250, 250, 250),
    (160, 90, 210),
)


class Spot:
    """Where a landmark stands in a scene, how large it is there and how it is lit."""

    def __init__(self, scene: Scene, place: str) -> None:
        self.scene = scene
        self.rng = scene.rng
        self.place = place
        self.x = scene.width * self.rng.uniform(0.25, 0.75)
        self.y = scene.horizon + scene.height * 0.16
        self.size = scene.unit * self.rng.uniform(0.12, 0.16)
        self.light = max(scene.sky.light, 0.6)

    def board(self, scale: float = 1) -> Board:
        return Board(self.scene.image, (self.x, self.y), self.size * scale)

    def board_below_horizon(self, share: float) -> Board:
        """The board with its foot ``share`` of the picture's height below the horizon."""
        y = self.scene.horizon + self.scene.height * share
        return Board(self.scene.image, (self.x, y), self.size)

    def shade(self, colour: Colour) -> Colour:
        return self.scene.shade(colour, self.light)


def draw_landmark(scene: Scene, name: str, place: str) -> None:
    LANDMARK_PAINTERS[name](Spot(scene, place))


def _boat(spot: Spot) -> None:
    hull = spot.shade((170, 60, 45))
    if spot.place == "beach":
        board = spot.board_below_horizon(0.04).moved(0, 0, 0.8)
    else:
        board = spot.board()
    draw_figure(board.moved(0, -0.3), "boat", hull)


def _house(spot: Spot) -> None:
    wall = spot.rng.choice([(225, 200, 160), (215, 90, 70), (240, 235, 225)])
    draw_figure(spot.board().moved(0, -0.4), "house", spot.shade(wall))


def _tree(spot: Spot) -> None:
    draw_figure(spot.board().moved(0, -0.9, 1.25), "tree", spot.shade((50, 130, 55)))


def _flowers(spot: Spot) -> None:
    scene, rng = spot.scene, spot.rng
    top, height = scene.horizon, scene.height
    for _ in range(30):
        x = rng.uniform(0, scene.width)
        y = rng.uniform(top + height * 0.1, height * 0.98)
        size = scene.unit * (0.012 + 0.014 * (y - top) / (height - top))
        colour = scene.shade(rng.choice(FLOWER_COLOURS), max(spot.light, 0.75))
        blossom = Board(scene.image, (x, y), size)
        for petal in range(5):
            angle = petal * 1.256
            blossom.disc((math.cos(angle), math.sin(angle)), 0.75, colour)
        blossom.disc((0, 0), 0.5, (250, 215, 80))


def _windmill(spot: Spot) -> None:
    board = spot.board()
    tower = [(-0.4, 0.3), (-0.22, -1), (0.22, -1), (0.4, 0.3)]
    board.polygon(tower, spot.shade((235, 225, 210)))
    board.polygon([(-0.28, -1), (0, -1.3), (0.28, -1)], spot.shade((165, 70, 55)))
    first = spot.rng.uniform(0, 1.5)
    for i in range(4):
        angle = first + i * math.pi / 2
        tip = (1.1 * math.cos(angle), -1 + 1.1 * math.sin(angle))
        board.line([(0, -1), tip], spot.shade((120, 85, 60)), 0.13, least=3)


def _castle(spot: Spot) -> None:
    stone = spot.shade((165, 165, 175))
    board = spot.board(1.2)
    board.box((-0.8, -0.7, 0.8, 0.4), stone)
    for x, high in ((-0.85, 1.1), (0.85, 1.1), (0, 1.35)):
        board.box((x - 0.22, -high, x + 0.22, 0.4), darken(stone, 0.08))
        roof = [(x - 0.3, -high), (x, -high - 0.6), (x + 0.3, -high)]
        board.polygon(roof, spot.shade((170, 60, 70)))
    board.box((-0.15, -0.05, 0.15, 0.4), spot.shade((70, 50, 40)))


def _cactus(spot: Spot) -> None:
    green = spot.shade((60, 140, 70))
    board = spot.board()
    width = int(spot.size * 0.32) / spot.size  # whole pixels, so both sides look alike
    board.box((-width / 2, -1.5, width / 2, 0.4), green, radius=width / 2)
    for q, high in ((-1, 0.35), (1, 0.6)):
        left, right = sorted((0, q * 0.7))
        board.box((left, -high, right, -high + width * 0.7), green, radius=width * 0.3)
        middle, half = q * 0.6, width * 0.35
        arm = (middle - half, -high - 0.55, middle + half, -high + width * 0.6)
        board.box(arm, green, radius=width * 0.3)


def _pyramid(spot: Spot) -> None:
    for x, size in ((0, 2.1), (1.9, 1.3)):
        colour = spot.shade((225, 180, 100))
        board = spot.board()
        top, foot = (x, -size * 0.85), x + size * 0.8
        board.polygon([top, (x - size * 0.8, 0.3), (foot, 0.3)], colour)
        board.polygon([top, (x + size * 0.25, 0.3), (foot, 0.3)], darken(colour, 0.25))


def _hot_air_balloon(spot: Spot) -> None:
    colour = spot.rng.choice([(225, 60, 60), (250, 180, 50), (230, 110, 170)])
    board = Board(spot.scene.image, (spot.x, spot.scene.horizon * 0.32), spot.size * 1.1)
    board.ellipse((0, 0), (0.75, 0.85), colour)
    board.ellipse((0, 0), (0.3, 0.85), lighten(colour, 0.5))
    board.polygon([(-0.5, 0.6), (0.5, 0.6), (0.16, 1.1), (-0.16, 1.1)], darken(colour, 0.2))
    board.box((-0.17, 1.15, 0.17, 1.42), (120, 80, 45))


def _palm_tree(spot: Spot) -> None:
    board = spot.board_below_horizon(0.33)
    board.line([(0, 0), (0.25, -1.1), (0.55, -2.1)], spot.shade((135, 95, 60)), 0.2)
    crown = board.moved(0.55, -2.1)
    for angle in (-2.9, -2.3, -1.2, -0.5, 0.1, 3.5):
        tip = (1.05 * math.cos(angle), 0.75 * math.sin(angle) + 0.28)
        x, y = 0.55 * math.cos(angle), 0.75 * math.sin(angle) - 0.12
        leaf = [(0, -0.1), (x, y - 0.1), tip, (x, y + 0.18), (0, 0.1)]
        crown.polygon(leaf, spot.shade((45, 145, 65)))


def _umbrella(spot: Spot) -> None:
    board = spot.board_below_horizon(0.36)
    board.line([(0, 0), (0, -1.2)], spot.shade((240, 240, 240)), 0.08, least=3)
    for i in range(6):
        colour = ((225, 60, 60), (250, 250, 248))[i % 2]
        angles = (180 + 30 * i, 210 + 30 * i)
        board.slice((-1, -1.9, 1, -0.2), angles, spot.shade(colour))


def _lighthouse(spot: Spot) -> None:
    board = spot.board()
    rock = [(-1.1, 0.3), (-0.7, -0.1), (0.7, -0.1), (1.2, 0.3)]
    board.polygon(rock, spot.shade((110, 100, 95)))
    for i in range(4):
        low, high = 0.38 - 0.04 * i, 0.34 - 0.04 * i
        bottom, top = -0.45 * i, -0.45 * (i + 1)
        band = [(-low, bottom), (-high, top), (high, top), (low, bottom)]
        board.polygon(band, spot.shade(((245, 245, 240), (215, 55, 50))[i % 2]))
    board.box((-0.2, -2.15, 0.2, -1.8), (255, 235, 130))
    board.polygon([(-0.3, -2.15), (0, -2.5), (0.3, -2.15)], spot.shade((180, 50, 45)))


def _island(spot: Spot) -> None:
    board = spot.board_below_horizon(0.07)
    board.slice((-1.8, -0.8, 1.8, 0.8), (180, 360), spot.shade((90, 150, 75)))
    for x in (-0.7, 0, 0.8):
        board.line([(x, -0.5), (x, -1.3)], spot.shade((120, 85, 55)), 0.1, least=3)
        board.ellipse((x, -1.35), (0.36, 0.28), spot.shade((55, 140, 65)))


def _snowman(spot: Spot) -> None:
    board = spot.board_below_horizon(0.28)
    for y, radius in ((0, 0.62), (-0.85, 0.46), (-1.5, 0.34)):
        board.disc((0, y), radius, (250, 251, 253))
        corners = (-radius, y - radius, radius, y + radius)
        board.arc(corners, (20, 160), (185, 195, 215), 0.05, least=2)
    for x in (-0.12, 0.12):
        board.disc((x, -1.58), 0.05, (20, 20, 20))
    board.polygon([(0, -1.5), (0.38, -1.42), (0, -1.38)], (245, 130, 30))
    board.box((-0.3, -1.88, 0.3, -1.78), (30, 30, 34))
    board.box((-0.2, -2.2, 0.2, -1.85), (30, 30, 34))


LANDMARK_PAINTERS: Final[Mapping[str, Callable[[Spot], None]]] = {
    "boat": _boat,
    "house": _house,
    "tree": _tree,
    "flowers": _flowers,
    "windmill": _windmill,
    "castle": _castle,
    "cactus": _cactus,
    "pyramid": _pyramid,
    "hot air balloon": _hot_air_balloon,
    "palm tree": _palm_tree,
    "umbrella": _umbrella,
    "lighthouse": _lighthouse,
    "island": _island,
    "snowman": _snowman,
}
