"""The pictures that are put in: drawn, so that what they show is known."""

import random
from typing import Final, NamedTuple

from PIL import Image, ImageDraw

from tools.embedded.captions import Triple, examination_prompt
from tools.embedded.metrics import draw_triple
from tools.embedded.vocabulary import COLOURS, SCOPES

SHAPES: Final = SCOPES["small"].shapes
# Colours that no other one is taken for.
CLEAR: Final = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "cyan")


class Subject(NamedTuple):
    """A drawn picture of 256 x 256, what it shows, and what is to be made of it."""

    number: int
    shown: Triple
    asked: Triple
    image: Image.Image

    @property
    def prompt(self) -> str:
        """Words for what is asked."""
        return examination_prompt(self.asked)

    @property
    def shown_prompt(self) -> str:
        """Words for what is shown."""
        return examination_prompt(self.shown)


def subject(number: int) -> Subject:
    """The same number gives the same subject; three colours that differ, one shape for both."""
    rng = random.Random(number)
    colour, other, background = rng.sample(CLEAR, 3)
    shape = rng.choice(SHAPES)
    shown, asked = Triple(colour, shape, background), Triple(other, shape, background)
    return Subject(number, shown, asked, draw_triple(shown, number))


def round_mask(size: tuple[int, int], share: float = 0.6) -> Image.Image:
    """White where to paint: an ellipse in the middle."""
    mask = Image.new("L", size, 0)
    left, top = (side * (1.0 - share) / 2.0 for side in size)
    ImageDraw.Draw(mask).ellipse((left, top, size[0] - left, size[1] - top), fill=255)
    return mask


def rgb_of(colour: str) -> tuple[int, int, int]:
    """Its red, green and blue."""
    return COLOURS[colour]
