"""The skies of the landscapes, and the scene that terrain and landmarks are drawn into."""

import random
from collections.abc import Mapping
from typing import Final, NamedTuple

from PIL import Image, ImageDraw, ImageFilter

from tools.embedded.drawing import BLACK, Board, Stop, blend, jitter, vertical_gradient
from tools.embedded.vocabulary import Colour


class Sky(NamedTuple):
    """Colours from zenith to horizon, and what the sky does to the ground below it."""

    stops: tuple[Stop, ...]
    light: float
    tint: Colour | None


SKIES: Final[Mapping[str, Sky]] = {
    "day": Sky(((0, (70, 150, 235)), (1, (190, 225, 250))), 1, None),
    "cloudy": Sky(((0, (110, 165, 225)), (1, (205, 222, 238))), 0.95, None),
    "sunset": Sky(
        ((0, (110, 60, 130)), (0.45, (235, 100, 80)), (0.75, (252, 165, 70)), (1, (255, 215, 130))),
        0.72,
        (240, 120, 60),
    ),
    "sunrise": Sky(
        ((0, (120, 150, 215)), (0.5, (245, 180, 190)), (1, (255, 225, 170))),
        0.85,
        (250, 190, 160),
    ),
    "starry": Sky(((0, (10, 14, 44)), (1, (40, 52, 110))), 0.42, (40, 50, 110)),
    "moon": Sky(((0, (14, 20, 54)), (1, (56, 72, 130))), 0.48, (50, 60, 120)),
    "rainbow": Sky(((0, (105, 175, 238)), (1, (205, 230, 250))), 1, None),
    "storm": Sky(((0, (58, 64, 76)), (1, (130, 138, 150))), 0.6, (90, 96, 110)),
}
RAINBOW: Final[tuple[Colour, ...]] = (
    (225, 60, 60),
    (245, 150, 50),
    (250, 225, 80),
    (70, 180, 90),
    (70, 110, 220),
    (140, 70, 190),
)
CLOUD_PUFFS: Final = (
    (-1.2, 0.25, 0.8),
    (0, -0.2, 1.1),
    (1.2, 0.2, 0.85),
    (0.5, 0.35, 0.8),
    (-0.5, 0.35, 0.8),
)


class Scene:
    """A landscape being drawn: sky first, then what stands below the horizon."""

    def __init__(self, size: tuple[int, int], sky: str, rng: random.Random) -> None:
        self.rng = rng
        self.width, self.height = size
        self.unit = min(size)
        self.sky_name = sky
        self.sky = SKIES[sky]
        self.horizon = int(self.height * rng.uniform(0.52, 0.64))
        share = self.horizon / self.height
        stops = [(place * share, jitter(colour, rng, 7)) for place, colour in self.sky.stops]
        self.image: Image.Image = vertical_gradient(self.width, self.height, stops)
        self.canvas = Board(self.image)
        self.sun_x = self.width * rng.uniform(0.2, 0.8)
        _draw_lights(self)
        if sky == "rainbow":
            _draw_rainbow(self)
        if sky in {"cloudy", "rainbow", "storm"} or (sky == "day" and rng.random() < 0.4):
            _draw_clouds(self)

    def shade(self, colour: Colour, light: float | None = None) -> Colour:
        """``colour`` as it looks under this sky."""
        lit = blend(BLACK, jitter(colour, self.rng, 6), self.sky.light if light is None else light)
        return blend(lit, self.sky.tint, 0.22) if self.sky.tint else lit


def draw_rain(scene: Scene) -> None:
    """Streaks over the whole picture."""
    unit = scene.unit
    for _ in range(50):
        x = scene.rng.uniform(0, scene.width)
        y = scene.rng.uniform(0, scene.height)
        streak = [(x, y), (x - unit * 0.015, y + unit * 0.05)]
        scene.canvas.line(streak, (165, 178, 195), unit * 0.005)


def _draw_lights(scene: Scene) -> None:
    rng, unit, sky = scene.rng, scene.unit, scene.sky_name
    if sky == "day":
        sun = (scene.sun_x, scene.height * rng.uniform(0.12, 0.24))
        scene.canvas.disc(sun, unit * 0.085, (255, 225, 80))
    if sky in {"sunset", "sunrise"}:
        _draw_low_sun(scene)
    if sky in {"starry", "moon"}:
        for _ in range(55 if sky == "starry" else 14):
            star = (rng.uniform(0, scene.width), rng.uniform(0, scene.horizon))
            scene.canvas.disc(star, unit * rng.choice([0.004, 0.006, 0.009]), (250, 248, 225))
    if sky == "moon":
        moon = (scene.sun_x, scene.height * rng.uniform(0.14, 0.26))
        scene.canvas.disc(moon, unit * 0.1, (250, 246, 215))


def _draw_low_sun(scene: Scene) -> None:
    unit = scene.unit
    x, y = scene.sun_x, scene.horizon - unit * scene.rng.uniform(-0.02, 0.12)
    glow = Image.new("L", scene.image.size, 0)
    radius = unit * 0.22
    ImageDraw.Draw(glow).ellipse((x - radius, y - radius, x + radius, y + radius), fill=110)
    scene.image.paste((255, 225, 140), (0, 0), glow.filter(ImageFilter.GaussianBlur(unit * 0.04)))
    core = (255, 236, 150) if scene.sky_name == "sunrise" else (255, 205, 70)
    scene.canvas.disc((x, y), unit * 0.105, core)


def _draw_rainbow(scene: Scene) -> None:
    unit, y = scene.unit, scene.horizon
    x = scene.width * scene.rng.uniform(0.4, 0.6)
    for i, colour in enumerate(RAINBOW):
        radius = unit * (0.46 - 0.028 * i)
        corners = (x - radius, y - radius, x + radius, y + radius)
        scene.canvas.arc(corners, (180, 360), colour, unit * 0.03)


def _draw_clouds(scene: Scene) -> None:
    rng = scene.rng
    colour = (82, 88, 100) if scene.sky_name == "storm" else (250, 252, 255)
    for _ in range({"cloudy": 4, "storm": 5}.get(scene.sky_name, 2)):
        x = rng.uniform(0, scene.width)
        y = rng.uniform(0.06, 0.62) * scene.horizon
        cloud = Board(scene.image, (x, y), scene.unit * rng.uniform(0.045, 0.075))
        for dx, dy, radius in CLOUD_PUFFS:
            cloud.ellipse((dx, dy), (radius * 1.1, radius * 0.8), colour)
