"""One picture and its caption from one number: the same number gives the same picture."""

import hashlib
import random
from collections.abc import Sequence
from typing import Final, NamedTuple

from PIL import Image

from tools.embedded import captions, vocabulary
from tools.embedded.captions import Triple
from tools.embedded.drawing import Board, Point, jitter
from tools.embedded.landscapes import draw_landscape
from tools.embedded.objects import draw_figure
from tools.embedded.styles import apply_style
from tools.embedded.vocabulary import COLOURS, Scope

SUPERSAMPLING: Final = 2
KINDS: Final = {"shape": 0.46, "object": 0.2, "pair": 0.07, "group": 0.05, "landscape": 0.22}
PLAIN_SHARE: Final = 0.72  # pictures without a style
STYLE_WEIGHTS: Final = {
    None: 0.58,
    "watercolor": 0.11,
    "line art": 0.08,
    "pastel": 0.09,
    "pixel art": 0.06,
    "flat": 0.08,
}
SIZE_WEIGHTS: Final = {None: 0.7, "small": 0.12, "big": 0.1, "large": 0.08}
SIZE_RANGES: Final = {  # of the shorter side
    None: (0.36, 0.52),
    "small": (0.17, 0.24),
    "big": (0.6, 0.7),
    "large": (0.6, 0.7),
}


class Picture(NamedTuple):
    image: Image.Image
    caption: str


def is_held_out(triple: Triple) -> bool:
    """One triple in five is never shown in training, by the hash of its words."""
    return hashlib.sha256(" ".join(triple).encode()).digest()[0] < 51


def held_out_triples(shapes: Sequence[str]) -> list[Triple]:
    """Every triple of two colours and a shape that training never shows."""
    return [
        triple
        for shape in shapes
        for colour in COLOURS
        for background in COLOURS
        if colour != background and is_held_out(triple := Triple(colour, shape, background))
    ]


def draw_example(seed: int, size: tuple[int, int], scope: Scope) -> Picture:
    """The training picture of number ``seed``; never one of a held-out triple."""
    rng = random.Random(seed * 7919 + 13)
    kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
    plain = rng.random() < PLAIN_SHARE
    while True:
        picture = draw_picture(rng.getrandbits(48), size, kind, scope, plain=plain)
        if kind not in {"shape", "group"}:
            return picture
        triple = captions.triple_of(picture.caption, scope.shapes)
        if triple is None or not is_held_out(triple):
            return picture


def draw_picture(
    seed: int, size: tuple[int, int], kind: str, scope: Scope, *, plain: bool
) -> Picture:
    """A picture of a kind, of ``size`` pixels; without a style if ``plain``."""
    rng = random.Random(seed)
    width, height = size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING
    phrase = rng.choice(vocabulary.BACKGROUND_PHRASES)
    if kind == "landscape":
        image, caption = _draw_place((width, height), rng)
    else:
        draw = {"pair": _draw_pair, "group": _draw_group}.get(kind, _draw_single)
        nouns = scope.objects if kind == "object" else scope.shapes
        image, caption = draw(_Easel((width, height), phrase, rng), nouns, scope)
    style = None if plain else rng.choices(list(STYLE_WEIGHTS), list(STYLE_WEIGHTS.values()))[0]
    caption = rng.choice(vocabulary.OPENINGS) + caption
    if style:
        image = apply_style(image, style, rng)
        caption = captions.with_style(caption, style, rng)
    caption = captions.with_quality_words(caption, rng)
    smooth = Image.Resampling.BOX if style == "pixel art" else Image.Resampling.LANCZOS
    return Picture(image.resize(size, smooth), caption)


class _Easel:
    """A picture of figures on a plain background, begun."""

    def __init__(self, size: tuple[int, int], phrase: str, rng: random.Random) -> None:
        self.rng = rng
        self.phrase = phrase
        self.width, self.height = size
        self.unit = min(size)
        self.image = Image.new("RGB", size)

    def tone(self, colour: str) -> vocabulary.Colour:
        return jitter(COLOURS[colour], self.rng)

    def fill(self, colour: str) -> None:
        self.image.paste(self.tone(colour), (0, 0, self.width, self.height))

    def board(self, place: Point, size: float) -> Board:
        """``place`` is a share of the picture's sides."""
        return Board(self.image, (self.width * place[0], self.height * place[1]), size)

    def caption(self, figures: str, background: str) -> str:
        return captions.on_background(
            figures, self.phrase, captions.colour_name(background, self.rng)
        )


def _draw_single(easel: _Easel, nouns: Sequence[str], _scope: Scope) -> Picture:
    rng = easel.rng
    noun = rng.choice(nouns)
    colour, background = rng.sample(list(COLOURS), 2)
    easel.fill(background)
    size = rng.choices(list(SIZE_WEIGHTS), list(SIZE_WEIGHTS.values()))[0]
    half = easel.unit * rng.uniform(*SIZE_RANGES[size]) / 2
    if noun == "cross" and not size:
        half *= 1.05
    reach = 0.2 if size == "small" else 0.1
    place = (
        0.5 + rng.uniform(-reach, reach) * 0.6,
        0.5 + rng.uniform(-reach, reach) * 0.6,
    )
    tone = easel.tone(colour)
    rotation = rng.choice([0, 0, 0, rng.uniform(-0.3, 0.3)])
    draw_figure(easel.board(place, half), noun, tone, rotation)
    words = f"{captions.colour_name(colour, rng)} {noun}"
    figure = captions.with_article(f"{size} {words}" if size else words)
    caption = easel.caption(figure, background).replace("a orange", "an orange")
    return Picture(easel.image, caption)


def _draw_pair(easel: _Easel, shapes: Sequence[str], scope: Scope) -> Picture:
    rng = easel.rng
    nouns = shapes if rng.random() < 0.7 else scope.objects
    first, second = rng.choice(nouns), rng.choice(nouns)
    first_colour, background, second_colour = rng.sample(list(COLOURS), 3)
    easel.fill(background)
    half = easel.unit * rng.uniform(0.24, 0.32) / 2
    vertical = rng.random() < 0.35
    apart = rng.uniform(0.22, 0.26)
    for noun, colour, place in zip(
        (first, second),
        (first_colour, second_colour),
        _pair_places(apart, rng, vertical=vertical),
        strict=True,
    ):
        draw_figure(easel.board(place, half), noun, easel.tone(colour))
    figures = captions.pair_caption(
        captions.with_article(f"{captions.colour_name(first_colour, rng)} {first}"),
        captions.with_article(f"{captions.colour_name(second_colour, rng)} {second}"),
        vertical=vertical,
        rng=rng,
    )
    return Picture(easel.image, easel.caption(figures, background))


def _pair_places(apart: float, rng: random.Random, *, vertical: bool) -> list[Point]:
    places = []
    for side in (-1, 1):
        across, down = (0, side * apart) if vertical else (side * apart, 0)
        x = 0.5 + across + rng.uniform(-0.03, 0.03)
        places.append((x, 0.5 + down + rng.uniform(-0.03, 0.03)))
    return places


def _draw_group(easel: _Easel, _shapes: Sequence[str], scope: Scope) -> Picture:
    rng = easel.rng
    noun = rng.choice(scope.shapes + scope.objects)
    colour, background = rng.sample(list(COLOURS), 2)
    easel.fill(background)
    count = rng.choice([2, 3, 4])
    in_a_row = rng.random() < 0.5
    tone = easel.tone(colour)
    half = easel.unit * (0.23 if count == 3 else 0.26) / 2
    for place in _group_places(count, in_a_row=in_a_row):
        draw_figure(easel.board(place, half), noun, tone)
    number = {2: "two", 3: "three", 4: "four"}[count]
    where = easel.caption("", background)
    figures = f"{number} {captions.colour_name(colour, rng)} {captions.plural(noun)}"
    return Picture(easel.image, figures + where)


def _group_places(count: int, *, in_a_row: bool) -> list[Point]:
    if count == 2:
        return [(0.28, 0.5), (0.72, 0.5)]
    if count == 4:
        return [(0.28, 0.28), (0.72, 0.28), (0.28, 0.72), (0.72, 0.72)]
    if in_a_row:
        return [(0.2, 0.5), (0.5, 0.5), (0.8, 0.5)]
    return [(0.5, 0.28), (0.28, 0.7), (0.72, 0.7)]


def _draw_place(size: tuple[int, int], rng: random.Random) -> Picture:
    place = rng.choice(list(vocabulary.PLACES))
    sky = rng.choice(list(vocabulary.SKIES))
    landmark = rng.choice(vocabulary.LANDMARKS_OF[place])
    if place == "city" and rng.random() < 0.2:
        landmark = None
    image = draw_landscape(size, place, sky, landmark, rng)
    return Picture(image, captions.landscape_caption(place, sky, landmark, rng))
