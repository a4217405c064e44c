"""The sentences that go with the pictures, and what a sentence says about colour and shape."""

import random
import re
from typing import NamedTuple

from tools.embedded import vocabulary


class Triple(NamedTuple):
    """A coloured shape on a coloured background: what the model is examined on."""

    colour: str
    shape: str
    background: str


def with_article(words: str) -> str:
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def colour_name(colour: str, rng: random.Random) -> str:
    """One of the colour's names."""
    names = vocabulary.COLOUR_NAMES.get(colour)
    return rng.choice(names) if names else colour


def plural(noun: str) -> str:
    return vocabulary.PLURALS.get(noun, f"{noun}s")


def on_background(figures: str, phrase: str, background: str) -> str:
    """``figures`` with the background said by ``phrase``, which may begin with a comma."""
    where = phrase.format(background)
    return figures + where if where.startswith(",") else f"{figures} {where}"


def pair_caption(first: str, second: str, *, vertical: bool, rng: random.Random) -> str:
    """``first`` is above or to the left of ``second``."""
    if vertical:
        return rng.choice(
            [f"{first} above {second}", f"{second} below {first}", f"{first} on top of {second}"]
        )
    return rng.choice(
        [
            f"{first} and {second}",
            f"{first} next to {second}",
            f"{first} to the left of {second}",
            f"{second} to the right of {first}",
            f"{first} and {second}",
        ]
    )


def landscape_caption(place: str, sky: str, landmark: str | None, rng: random.Random) -> str:
    where = rng.choice(vocabulary.PLACES[place])
    when = rng.choice(vocabulary.SKIES[sky])
    turn = rng.random()
    what = rng.choice(vocabulary.LANDMARKS[landmark]) if landmark else None
    if sky in {"sunset", "sunrise"} and turn < 0.45:
        return f"a {sky} over {where}" + (f" with {what}" if what else "")
    if what is None:
        return f"{where} {when}" if turn < 0.85 else f"{where}, {when}"
    preposition = vocabulary.PLACE_PREPOSITIONS.get(place, "near")
    caption = rng.choice([f"{where} with {what} {when}", f"{what} {preposition} {where} {when}"])
    if turn <= 0.85:
        return caption
    for word in ("under ", "with ", "at ", "in ", "on "):
        when = when.replace(word, "")
    return f"{when}, {where}, {what}"


def with_style(caption: str, style: str, rng: random.Random) -> str:
    phrase = rng.choice(vocabulary.STYLES[style])
    if rng.random() < 0.65:
        return f"{caption}, {phrase}"
    return f"{caption} {phrase}" if phrase.startswith("in ") else f"{phrase}, {caption}"


def with_quality_words(caption: str, rng: random.Random) -> str:
    """Now and then the words that people put around any prompt, so that they do no harm."""
    turn = rng.random()
    if turn < 0.08:
        return f"{caption}, " + ", ".join(
            rng.sample(vocabulary.QUALITY_WORDS, rng.choice((1, 1, 2)))
        )
    if turn < 0.14:
        return ", ".join(rng.sample(vocabulary.QUALITY_WORDS, rng.choice((1, 2)))) + f", {caption}"
    return caption


def triple_of(caption: str, shapes: tuple[str, ...]) -> Triple | None:
    """The one coloured shape and its background that a caption names; None if it is no such one."""
    # "black and white line art" names a style and no colours.
    words = re.findall("[a-z]+", caption.replace("black and white line art", ""))
    colours = [vocabulary.COLOUR_ALIASES.get(word, word) for word in words]
    colours = [colour for colour in colours if colour in vocabulary.COLOURS]
    named = [shape for word in words for shape in shapes if word in {shape, plural(shape)}]
    if len(colours) != 2 or len(named) != 1:
        return None
    return Triple(colours[0], named[0], colours[1])


def examination_prompt(triple: Triple) -> str:
    """``a red circle on a blue background``"""
    figure = with_article(f"{triple.colour} {triple.shape}")
    return f"{figure} on {with_article(triple.background)} background"
