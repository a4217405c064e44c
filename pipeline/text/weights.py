"""Prompt weights: ``(x)`` is x at 1.1, ``(x:1.3)`` at 1.3, ``\\(`` a plain parenthesis."""

import math
from typing import Final, NamedTuple

_STEP: Final = 1.1
_OPEN: Final = "\x00"  # stands for a plain "("
_CLOSE: Final = "\x01"  # and for a plain ")"
_PLAIN: Final = str.maketrans({_OPEN: "(", _CLOSE: ")"})

WeightedText = tuple[str, float]
"""A run of text and its weight, 1 is normal; a plain tuple, as there may be thousands."""


def parse_weights(prompt: str) -> list[WeightedText]:
    """Cut a prompt into runs of one weight, in order, escapes resolved. Takes linear time.

    ``(x)`` multiplies by 1.1; a number inside nested parentheses replaces what is outside it.
    Unmatched parentheses and square brackets are ordinary characters.
    """
    text = prompt.replace(_OPEN, "").replace(_CLOSE, "")
    groups = _match(text.replace("\\(", _OPEN).replace("\\)", _CLOSE))
    runs = _runs(groups)
    if _OPEN not in groups.text and _CLOSE not in groups.text:
        return runs
    return [(text.translate(_PLAIN), weight) for text, weight in runs]


class _Groups(NamedTuple):
    """A text without stray parentheses, and how those in it match; a list entry a character."""

    text: str
    partner: list[int]  # of "(": the index of its ")", or 0
    before: list[int]  # of ")": the index of the parenthesis before it


def _match(text: str) -> _Groups:
    """Match parentheses in one pass; those that are stray become plain.

    A stray ``)`` counts below zero, so that the ``(`` after it opens nothing.
    """
    partner, before = [0] * len(text), [0] * len(text)
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
                partner[opened.pop()] = i
                before[i], last = last, i
            else:
                below += 1
                stray.append(i)
    return _Groups(_with_plain(text, stray) if stray else text, partner, before)


def _with_plain(text: str, stray: list[int]) -> str:
    chars = list(text)
    for i in stray:
        chars[i] = _OPEN if chars[i] == "(" else _CLOSE
    return "".join(chars)


def _runs(groups: _Groups) -> list[WeightedText]:
    """The runs of one weight that are not empty, parentheses and numbers left out.

    Groups are nested on a list of its own, without recursion, so to any depth.
    """
    text, before = groups.text, groups.before
    runs: list[WeightedText] = []
    outer = [(0, len(text), 1.0)]  # what follows each open group: begin, end and weight
    while outer:
        begin, end, weight = outer.pop()
        while begin < end:
            opening = text.find("(", begin, end)
            if opening != begin:
                runs.append((text[begin : end if opening < 0 else opening], weight))
            if opening < 0:
                break
            closing = _closing(groups, opening, end)
            if closing < 0:
                runs.append((text[opening:end], weight))
                break
            weighted, inside = _inside(groups, opening, closing, weight)
            if before[closing] == opening:  # no group in it: the next one follows at this weight
                if opening + 1 < weighted:
                    runs.append((text[opening + 1 : weighted], inside))
                begin = closing + 1
            else:
                outer.append((closing + 1, end, weight))
                begin, end, weight = opening + 1, weighted, inside
    return runs


def _closing(groups: _Groups, opening: int, end: int) -> int:
    """Where the group ends that begins at ``opening``, or -1.

    A "(" that is not closed before ``end`` makes a group with a ")" that stands there.
    """
    closing = groups.partner[opening]
    if opening < closing < end:
        return closing
    return end - 1 if opening < end - 1 and groups.text[end - 1] == ")" else -1


def _inside(groups: _Groups, opening: int, closing: int, weight: float) -> tuple[int, float]:
    """Where a group's text ends, its number left out, and the weight in it."""
    last = groups.before[closing]
    if last == closing - 1:
        return closing, weight * _STEP
    end, number = _split_weight(groups.text, max(opening + 1, last) + 1, closing)
    return end, weight * _STEP if number is None else number


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
