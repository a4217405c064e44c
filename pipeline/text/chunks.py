"""Weighted words to the fixed-length token sections that a CLIP encoder takes."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from torch import Tensor

from pipeline.text.weights import WeightedText

SECTION: Final = 77  # tokens, start and end among them
_SPLITTABLE: Final = 8  # a word of so many tokens may be cut across sections
_INVERSION: Final = "embedding:"


class Token(NamedTuple):
    """A token's number in the vocabulary, or a learned vector in its place."""

    value: int | Tensor
    weight: float = 1.0


Section = list[Token]
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
) -> Iterator[list[Token]]:
    """The tokens of each word; ``embedding:name`` is a word of vectors, or nothing if unknown."""
    for text, weight in runs:
        for word in text.replace("\n", " ").split(" "):
            rest = word
            if word.startswith(_INVERSION):
                name = word.removeprefix(_INVERSION)
                vectors, rest = _find(name, find_vectors)
                yield [Token(vector, weight) for vector in vectors]
            if rest:
                yield [Token(number, weight) for number in tokens(rest)]


def make_sections(words: Iterator[list[Token]], special: Special) -> list[Section]:
    """Fill sections word by word; at least one. A short word moves whole to the next section."""
    sections = [[Token(special.start)]]
    for word in words:
        used = 0
        while used < len(word):
            room = SECTION - 1 - len(sections[-1])
            if len(word) - used <= room:
                sections[-1] += word[used:]
                break
            if len(word) >= _SPLITTABLE:
                sections[-1] += word[used : used + room]
                used += room
            sections.append([Token(special.start)])
    return [_close(section, special) for section in sections]


def empty_section(special: Special) -> Section:
    """The section of an empty text."""
    return _close([Token(special.start)], special)


def _close(section: Section, special: Special) -> Section:
    padding = SECTION - 1 - len(section)
    return [*section, Token(special.end), *[Token(special.pad)] * padding]


def _find(name: str, find_vectors: FindVectors) -> tuple[Sequence[Tensor], str]:
    """A textual inversion and what of the word is left: commas may follow the name."""
    vectors = find_vectors(name)
    if vectors is not None:
        return vectors, ""
    stripped = name.strip(",")
    vectors = find_vectors(stripped) if stripped != name else None
    return vectors or (), name[len(stripped) :]
