"""Prompt weights: ``(x)`` is x at 1.1, ``(x:1.3)`` at 1.3, ``\\(`` a plain parenthesis."""

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

_PLAIN: Final = str.maketrans({"\x00": "(", "\x01": ")"})
_STEP: Final = 1.1


class WeightedText(NamedTuple):
    """A run of text and how much it counts; 1 is normal."""

    text: str
    weight: float


def parse_weights(prompt: str) -> list[WeightedText]:
    """Cut a prompt into runs of one weight, in order, the escapes resolved.

    ``(x)`` multiplies by 1.1, a number inside nested parentheses replaces what is outside it.
    Parentheses that do not match, and square brackets, are ordinary characters.
    """
    escaped = prompt.replace("\x00", "").replace("\x01", "")
    escaped = escaped.replace("\\(", "\x00").replace("\\)", "\x01")
    return [WeightedText(text.translate(_PLAIN), weight) for text, weight in _runs(escaped, 1.0)]


def _runs(text: str, weight: float) -> Iterator[WeightedText]:
    for part in _parts(text):
        if len(part) >= 2 and part[0] == "(" and part[-1] == ")":
            inner, number = _split_weight(part[1:-1])
            yield from _runs(inner, weight * _STEP if number is None else number)
        else:
            yield WeightedText(part, weight)


def _parts(text: str) -> Iterator[str]:
    """``text`` cut before and after each outermost pair of parentheses.

    A stray ``)`` counts below zero, so that the ``(`` after it opens nothing.
    """
    depth = start = 0
    for i, char in enumerate(text):
        if char == "(":
            if depth == 0:
                yield text[start:i]
                start = i
            depth += 1
        elif char == ")":
            depth -= 1
            if depth == 0:
                yield text[start : i + 1]
                start = i + 1
    yield text[start:]


def _split_weight(inner: str) -> tuple[str, float | None]:
    """``cat:1.3`` as (``cat``, 1.3); without a number after its last colon, all of it and None."""
    text, colon, number = inner.rpartition(":")
    if not colon or not text:
        return inner, None
    try:
        weight = float(number)
    except ValueError:
        return inner, None
    return (text, weight) if math.isfinite(weight) else (inner, None)
