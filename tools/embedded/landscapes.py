"""What lies below the horizon: water, peaks, ridges, trees and towns, one painter a place."""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
from PIL import Image

from tools.embedded.drawing import WHITE, Point, blend, darken, vertical_gradient
from tools.embedded.landmarks import draw_landmark
from tools.embedded.skies import Scene, draw_rain
from tools.embedded.vocabulary import Colour

REFLECTIONS: Final[Mapping[str, Colour]] = {
    "sunset": (255, 190, 90),
    "sunrise": (255, 225, 170),
    "moon": (235, 232, 205),
}


def draw_landscape(
    size: tuple[int, int], place: str, sky: str, landmark: str | None, rng: random.Random
) -> Image.Image:
    """A whole landscape of ``size`` pixels."""
    scene = Scene(size, sky, rng)
    TERRAIN[place](scene)
    if landmark:
        draw_landmark(scene, landmark, place)
    if sky == "storm":
        draw_rain(scene)
    return scene.image


def _draw_ground(scene: Scene, place: tuple[float, float, int], colour: Colour) -> None:
    """A wavy ground; ``place`` is its depth below the horizon, its swing and its waves."""
    _draw_ridge(scene, place, lambda: scene.shade(colour))


def _draw_snow_ground(scene: Scene, place: tuple[float, float, int], colour: Colour) -> None:
    """Snow stays brighter than its surroundings in the dark."""
    light = min(1, scene.sky.light + 0.12)
    _draw_ridge(scene, place, lambda: scene.shade(colour, light))


def _draw_ridge(
    scene: Scene, place: tuple[float, float, int], colour: Callable[[], Colour]
) -> None:
    width, height = scene.width, scene.height
    depth, swing, waves = place
    xs = np.arange(width)
    line = np.zeros(width)
    for k in range(1, waves + 1):
        pace = k * scene.rng.uniform(0.6, 1.2)
        phase = scene.rng.uniform(0, 7)
        line += np.sin(xs / width * 2 * math.pi * pace + phase) * height * swing * 0.5 ** (k - 1)
    line += scene.horizon + height * depth
    points: list[Point] = [(0, height)]
    points += [(x, float(line[x])) for x in range(0, width, 4)]
    points += [(width, float(line[-1])), (width, height)]
    scene.canvas.polygon(points, colour())


def _draw_water(scene: Scene, colour: Colour) -> None:
    rng, top, height = scene.rng, scene.horizon, scene.height
    far = blend(scene.shade(colour), scene.sky.stops[-1][1], 0.35)
    near = scene.shade(darken(colour, 0.25))
    water = vertical_gradient(scene.width, height - top, [(0, far), (1, near)])
    scene.image.paste(water, (0, top))
    reflection = REFLECTIONS.get(scene.sky_name)
    for _ in range(26):
        y = rng.uniform(top + 4, height)
        length = scene.unit * rng.uniform(0.03, 0.12) * (0.5 + (y - top) / (height - top))
        if reflection and rng.random() < 0.65:
            x = scene.sun_x + rng.gauss(0, scene.unit * 0.05)
            tone = reflection
        else:
            x = rng.uniform(0, scene.width)
            tone = blend(scene.shade(colour), WHITE, 0.25)
        scene.canvas.line([(x - length / 2, y), (x + length / 2, y)], tone, scene.unit * 0.009)


def _draw_peaks(
    scene: Scene, colours: Sequence[Colour], *, snow: bool, count: int | None, reach: float
) -> None:
    """``count`` None: two or three. ``reach``: the highest peak's height in units."""
    rng = scene.rng
    base = scene.horizon + int(scene.height * 0.03)
    for _ in range(count or rng.choice([2, 3])):
        x = scene.width * rng.uniform(0.1, 0.9)
        high = scene.unit * rng.uniform(reach * 0.65, reach)
        wide = high * rng.uniform(0.75, 1.1)
        colour = scene.shade(rng.choice(colours))
        top = (x, base - high)
        scene.canvas.polygon([top, (x - wide, base), (x + wide, base)], colour)
        fold = [(x + wide * 0.12, base - high * 0.45), (x - wide * 0.05, base), (x + wide, base)]
        scene.canvas.polygon([top, *fold], darken(colour, 0.18))
        if snow:
            _draw_snow_cap(scene, (x, base), (wide, high))


def _draw_snow_cap(scene: Scene, foot: Point, size: Point) -> None:
    (x, base), (wide, high) = foot, size
    tint = scene.sky.tint
    dim = tint is not None and scene.sky.light < 0.6
    colour = blend((250, 252, 255), tint, 0.2) if tint and dim else (248, 250, 255)
    share = 0.42
    edge = (
        (0, 1.0),
        (-share, 1 - share),
        (-share * 0.45, 1 - share * 0.72),
        (-0.05, 1 - share * 1.15),
        (share * 0.4, 1 - share * 0.75),
        (share, 1 - share),
    )
    scene.canvas.polygon([(x + wide * dx, base - high * dy) for dx, dy in edge], colour)


def _draw_pine(scene: Scene, foot: Point, height: float, colour: Colour) -> None:
    pine = scene.canvas.moved(*foot, height)
    pine.box((-0.05, -0.15, 0.05, 0), scene.shade((90, 60, 40)))
    for i in range(3):
        half, low = 0.17 + 0.07 * i, 0.62 - 0.24 * i
        pine.polygon([(0, -(1 - 0.12 * i)), (-half, -low), (half, -low)], colour)


def _sea(scene: Scene) -> None:
    _draw_water(scene, (35, 105, 190))


def _lake(scene: Scene) -> None:
    snow = scene.rng.random() < 0.4
    _draw_peaks(scene, [(90, 110, 140), (80, 120, 100)], snow=snow, count=3, reach=0.34)
    _draw_water(scene, (45, 120, 190))


def _mountain(scene: Scene) -> None:
    rocks = [(120, 110, 105), (105, 115, 130), (130, 115, 95)]
    _draw_peaks(scene, rocks, snow=False, count=None, reach=0.42)
    _draw_ground(scene, (0.03, 0.01, 3), (85, 140, 70))


def _snowy_mountain(scene: Scene) -> None:
    _draw_peaks(scene, [(100, 115, 145), (90, 105, 135)], snow=True, count=None, reach=0.42)
    _draw_snow_ground(scene, (0.04, 0.01, 3), (225, 232, 242))


def _field(scene: Scene) -> None:
    _draw_ground(scene, (0, 0.008, 2), (100, 180, 70))
    _draw_ground(scene, (0.18, 0.02, 2), (80, 160, 58))


def _hills(scene: Scene) -> None:
    for i, colour in enumerate([(120, 185, 105), (95, 170, 80), (70, 150, 60)]):
        _draw_ground(scene, (i * 0.12 - 0.05, 0.045, 2), colour)


def _desert(scene: Scene) -> None:
    for i, colour in enumerate([(240, 205, 130), (228, 185, 105), (212, 165, 88)]):
        _draw_ground(scene, (i * 0.12, 0.03, 2), colour)


def _forest(scene: Scene) -> None:
    rng = scene.rng
    _draw_ground(scene, (0.06, 0.01, 2), (60, 115, 55))
    for row, colour in enumerate([(70, 135, 90), (48, 112, 68), (30, 88, 50)]):
        y = scene.horizon + scene.height * (0.08 + 0.14 * row)
        trees = 9 - 2 * row
        for i in range(trees):
            x = scene.width * (i + rng.uniform(0.1, 0.9)) / trees
            foot = (x, y + rng.uniform(-0.02, 0.02) * scene.height)
            height = scene.unit * rng.uniform(0.28, 0.36) * (1 + 0.3 * row)
            _draw_pine(scene, foot, height, scene.shade(colour))


def _city(scene: Scene) -> None:
    rng, unit = scene.rng, scene.unit
    street = scene.horizon + scene.height * 0.18
    cold = ((120, 135, 165), (80, 92, 125))
    warm = ((150, 130, 135), (105, 90, 100))
    for row in range(2):
        x = -scene.width * 0.05
        while x < scene.width:
            width = unit * rng.uniform(0.09, 0.15)
            height = unit * rng.uniform(0.2, 0.55) * (1 - 0.3 * row)
            wall = scene.shade((cold if rng.random() < 0.7 else warm)[row])
            scene.canvas.box((x, street - height, x + width, scene.height), wall)
            _draw_windows(scene, (x, street - height), width)
            x += width * rng.uniform(1, 1.15)
    road = (0, street, scene.width, scene.height)
    scene.canvas.box(road, scene.shade((85, 88, 98)))


def _draw_windows(scene: Scene, corner: Point, width: float) -> None:
    unit = scene.unit
    left, top = corner
    light = (255, 225, 120) if scene.sky.light < 0.8 else (205, 225, 240)
    last = scene.horizon + scene.height * 0.16
    for y in np.arange(top + unit * 0.03, last, unit * 0.05):
        for column in (0.2, 0.6):
            if scene.rng.random() < 0.7:
                x = left + width * column
                scene.canvas.box((x, float(y), x + width * 0.22, float(y) + unit * 0.024), light)


def _beach(scene: Scene) -> None:
    _draw_water(scene, (40, 150, 205))
    _draw_ground(scene, (0.2, 0.025, 2), (245, 218, 150))


def _snow(scene: Scene) -> None:
    rng = scene.rng
    for i, colour in enumerate([(220, 230, 242), (238, 243, 250)]):
        _draw_snow_ground(scene, (i * 0.14, 0.02, 2), colour)
    for _ in range(rng.randint(2, 5)):
        x = rng.uniform(0, scene.width)
        foot = (x, scene.horizon + scene.height * rng.uniform(0.03, 0.12))
        height = scene.unit * rng.uniform(0.14, 0.24)
        _draw_pine(scene, foot, height, scene.shade((60, 115, 85)))


TERRAIN: Final[Mapping[str, Callable[[Scene], None]]] = {
    "sea": _sea,
    "mountain": _mountain,
    "snowy mountain": _snowy_mountain,
    "field": _field,
    "hills": _hills,
    "desert": _desert,
    "forest": _forest,
    "city": _city,
    "beach": _beach,
    "lake": _lake,
    "snow": _snow,
}
