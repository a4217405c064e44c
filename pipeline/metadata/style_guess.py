"""Which styles wrapped a prompt, inferred from the encoded texts.

Fooocus writes no style names in A1111's scheme, but the prompt as typed and, with commas between,
all the texts it became.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from pipeline.request.styles import EXPANSION, Template

_BETWEEN: Final = ", \n"
_QUOTED: Final = re.compile(r"""'((?:[^'\\]|\\.)*+)'|"((?:[^"\\]|\\.)*+)\"""", re.DOTALL)
_QUOTE: Final = re.compile("['\"]")
_ESCAPE: Final = re.compile(r"\\(x[\da-f]{2}|u[\da-f]{4}|U[\da-f]{8}|.)", re.DOTALL)


class WholeTexts(NamedTuple):
    """All positive and all negative texts of a picture, joined."""

    positive: str
    negative: str


def style_names(text: str) -> Iterator[str]:
    """The names in a list as Python writes it: ``['Fooocus V2', "Artist's"]``."""
    place = 0
    while quote := _QUOTE.search(text, place):
        name = _QUOTED.match(text, quote.start())
        if name is None:  # without an end to this name, there is none to any later one
            return
        place = name.end()
        yield _unescaped(name[1] if name[1] is not None else name[2])


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(_character, text)


def _character(escape: re.Match[str]) -> str:
    sign = escape[1]
    if len(sign) > 1:
        code = int(sign[1:], 16)
        return chr(code) if code < 0x110000 else ""
    return {"n": "\n", "t": "\t", "r": "\r"}.get(sign, sign)


def find_styles(
    whole: WholeTexts, prompt: str, negative_prompt: str, templates: Mapping[str, Template]
) -> tuple[str, ...] | None:
    """The styles by which the typed prompts became ``whole``; None if they do not explain it."""
    main, *extra = prompt.splitlines() or [""]
    styles, left = _peel(whole, main, templates)
    bare = [] if any("{prompt}" in style.prompt for style in styles) else [main]
    rest = _without(left.positive, [*bare, *extra])
    against = _without(left.negative, negative_prompt.splitlines())
    if rest is None or against is None or against.strip(_BETWEEN):
        return None
    names = tuple(style.name for style in styles)
    if not rest.strip(_BETWEEN):
        return names
    # The prompt expansion repeats the prompt and goes on from there.
    return (EXPANSION, *names) if main and rest.strip(_BETWEEN).startswith(main) else None


def _peel(
    whole: WholeTexts, main: str, templates: Mapping[str, Template]
) -> tuple[list[Template], WholeTexts]:
    """The styles whose lines stand in both texts, in order, and the texts without them.

    Longer styles come first, as one may hold another's words.
    """
    left = whole
    found: list[tuple[int, Template]] = []
    for style in sorted(templates.values(), key=_length, reverse=True):
        lines = style.prompt.replace("{prompt}", main).splitlines()
        against = style.negative_prompt.splitlines()
        positive, negative = _without(left.positive, lines), _without(left.negative, against)
        if positive is None or negative is None or (positive, negative) == left:
            continue
        place = whole.negative.find(against[0]) if against else whole.positive.find(lines[0])
        found.append((place, style))
        left = WholeTexts(positive, negative)
    return [style for _, style in sorted(found, key=lambda entry: entry[0])], left


def _length(style: Template) -> int:
    return len(style.prompt) + len(style.negative_prompt)


def _without(text: str, lines: Sequence[str]) -> str | None:
    """``text`` after taking each of the lines out once; None if one is not there."""
    for line in lines:
        if line not in text:
            return None
        text = text.replace(line, "", 1)
    return text
