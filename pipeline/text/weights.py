"""Prompt weights: ``(x)`` is x at 1.1, ``(x:1.3)`` at 1.3, ``\\(`` a plain parenthesis."""

import math
from typing import Final, NamedTuple

_STEP: Final = 1.1
_OPEN: Final = "\x00"  # stands for a plain "("
_CLOSE: Final = "\x01"  # and for a plain ")"
_PLAIN: Final = str.maketrans({_OPEN: "(", _CLOSE: ")"})

_Span = tuple[int, int, float]
"""Begin and end of a stretch of text, and its weight; a plain tuple, as there may be thousands."""


class WeightedText(NamedTuple):
    """A run of text and its weight; 1 is normal."""

    text: str
    weight: float


def parse_weights(prompt: str) -> list[WeightedText]:
    """Cut a prompt into runs of one weight, in order, escapes resolved. Takes linear time.

    ``(x)`` multiplies by 1.1; a number inside nested parentheses replaces what is outside it.
    Unmatched parentheses and square brackets are ordinary characters.
    """
    text = prompt.replace(_OPEN, "").replace(_CLOSE, "")
    groups = _match(text.replace("\\(", _OPEN).replace("\\)", _CLOSE))
    runs = [WeightedText(groups.text[i:k], weight) for i, k, weight in _runs(groups)]
    if _OPEN not in groups.text and _CLOSE not in groups.text:
        return runs
    return [WeightedText(text.translate(_PLAIN), weight) for text, weight in runs]


class _Groups(NamedTuple):
    """A text without stray parentheses, and how those in it match; a list entry a character."""

    text: str
    partner: list[int]  # of "(": the index of its ")", or 0
    before: list[int]  # of ")": the index of the parenthesis before it


def _match(text: str) -> _Groups:
    """Match parentheses in one pass; those that are stray become plain.

    A stray ``)`` counts below zero, so that the ``(`` after it opens nothing.
    """
    groups = _Groups(text, [0] * len(text), [0] * len(text))
    opened: list[int] = []
    stray: list[int] = []
    below = last = 0
    for i, char in enumerate(text):
        if char == "(":
            if below:
                below -= 1
                stray.append(i)
            else:
                opened.append(i)
                last = i
        elif char == ")":
            if opened:
                groups.partner[opened.pop()] = i
                groups.before[i], last = last, i
            else:
                below += 1
                stray.append(i)
    return groups._replace(text=_with_plain(text, stray)) if stray else groups


def _with_plain(text: str, stray: list[int]) -> str:
    chars = list(text)
    for i in stray:
        chars[i] = _OPEN if chars[i] == "(" else _CLOSE
    return "".join(chars)


def _runs(groups: _Groups) -> list[_Span]:
    """The spans of one weight that are not empty, parentheses and numbers left out.

    Groups are nested on a list of its own, without recursion, so to any depth.
    """
    text, partner, before = groups
    runs: list[_Span] = []
    outer: list[_Span] = [(0, len(text), 1.0)]  # what follows each open group
    while outer:
        begin, end, weight = outer.pop()
        while begin < end:
            opening = text.find("(", begin, end)
            if opening != begin:
                runs.append((begin, end if opening < 0 else opening, weight))
            if opening < 0:
                break
            closing = partner[opening]
            # A "(" that is not closed before ``end`` makes a group with a ")" that stands there.
            if not opening < closing < end:
                closing = end - 1
                if closing == opening or text[closing] != ")":
                    runs.append((opening, end, weight))
                    break
            outer.append((closing + 1, end, weight))
            begin, end, number = opening + 1, closing, None
            if before[closing] != closing - 1:
                end, number = _split_weight(text, max(begin, before[closing]) + 1, closing)
            weight = weight * _STEP if number is None else number
    return runs


def _split_weight(text: str, begin: int, end: int) -> tuple[int, float | None]:
    """Of ``cat:1.3`` the end of ``cat`` and 1.3; without a colon and a number, ``end`` and None."""
    colon = text.rfind(":", begin, end)
    if colon < 0:
        return end, None
    try:
        weight = float(text[colon + 1 : end])
    except ValueError:
        return end, None
    return (colon, weight) if math.isfinite(weight) else (end, None)
