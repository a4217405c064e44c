"""Weighted words to the fixed-length token sections that a CLIP encoder takes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from torch import Tensor

from pipeline.text.weights import WeightedText

SECTION: Final = 77  # tokens, start and end among them
_SPLITTABLE: Final = 8  # a word of so many tokens may be cut across sections
_INVERSION: Final = "embedding:"

TokenValue = int | Tensor
"""A token's number in the vocabulary, or a learned vector in its place."""


Word = tuple[Sequence[TokenValue], float]
"""The tokens of one word, and the weight of all of them."""


class Section(NamedTuple):
    """The tokens of one section and their weights: two lists of ``SECTION`` when it is full."""

    values: list[TokenValue]
    weights: list[float]


FindVectors = Callable[[str], Sequence[Tensor] | None]
"""Vectors of the textual inversion of that name, for one encoder; None if there is no such file."""


class Special(NamedTuple):
    """The tokens around a text: ``pad`` fills its section after ``end``."""

    start: int
    end: int
    pad: int


def split_words(
    runs: Sequence[WeightedText],
    tokens: Callable[[str], Sequence[int]],
    find_vectors: FindVectors,
) -> Iterator[Word]:
    """The words of a text; ``embedding:name`` is a word of vectors, or nothing if unknown."""
    for text, weight in runs:
        for word in text.replace("\n", " ").split(" "):
            rest = word
            if word.startswith(_INVERSION):
                vectors, rest = _find(word.removeprefix(_INVERSION), find_vectors)
                yield vectors, weight
            if rest:
                yield tokens(rest), weight


def make_sections(words: Iterable[Word], special: Special) -> list[Section]:
    """Fill sections word by word; at least one. A short word moves whole to the next section."""
    sections = [_begin(special)]
    values, weights = sections[0]
    for word, weight in words:
        used = 0
        while len(word) - used > (room := SECTION - 1 - len(values)):
            if len(word) >= _SPLITTABLE:
                values += word[used : used + room]
                weights += [weight] * room
                used += room
            sections.append(_begin(special))
            values, weights = sections[-1]
        values += word[used:]
        weights += [weight] * (len(word) - used)
    return [_close(section, special) for section in sections]


def empty_section(special: Special) -> Section:
    """The section of an empty text."""
    return _close(_begin(special), special)


def _begin(special: Special) -> Section:
    return Section([special.start], [1.0])


def _close(section: Section, special: Special) -> Section:
    padding = SECTION - 1 - len(section.values)
    return Section(
        [*section.values, special.end, *[special.pad] * padding],
        [*section.weights, *[1.0] * (padding + 1)],
    )


def _find(name: str, find_vectors: FindVectors) -> tuple[Sequence[Tensor], str]:
    """A textual inversion and what of the word is left: commas may follow the name."""
    vectors = find_vectors(name)
    if vectors is not None:
        return vectors, ""
    stripped = name.strip(",")
    vectors = find_vectors(stripped) if stripped != name else None
    return vectors or (), name[len(stripped) :]
