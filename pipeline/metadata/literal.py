"""Prompts that a request takes as they stand: arrays, wildcards and clean-up change nothing.

An array of one empty item, ``[[]]``, stands for nothing. Put into a text it keeps apart what would
be read as something else, and keeps blanks and signs that are stripped from prompts.
"""

import re
from typing import Final

from pipeline.request.schema_parts import MAX_TEXT

_NOTHING: Final = "[[]]"
_WILDCARD: Final = re.compile(r"__[\w-]+__")
_LORA: Final = re.compile(r"<lora:(?=[^:]+:[+-]?[\d.]+>)")
_BRACKETS: Final = re.compile(r"\[{2,}")
_BLANKS: Final = re.compile(r" {2,}")


def literal_prompt(text: str, *, keep_empty: bool = False) -> str:
    """The prompt that becomes ``text``, whose first line is a main prompt as it was encoded.

    ``keep_empty``: an empty main prompt stays one. Too long for a request, the text stays as it is.
    """
    main, newline, rest = text.partition("\n")
    kept = _literal(main)
    if not main.strip() and not kept and (rest or keep_empty):
        kept = _NOTHING
    made = f"{kept}{newline}{rest}"
    return made if len(made) <= MAX_TEXT else text


def _literal(main: str) -> str:
    if not main:
        return main
    guarded = _BRACKETS.sub(lambda run: "[[[]]" * (len(run[0]) - 1) + "[", main)
    if _WILDCARD.search(guarded):
        guarded = re.sub("_(?=_)", f"_{_NOTHING}", guarded)
    guarded = _LORA.sub(f"<lora{_NOTHING}:", guarded)
    parts = guarded.split(",")
    made = ",".join(_part(part, first=i == 0) for i, part in enumerate(parts))
    before = _NOTHING if made.startswith(".") else ""
    after = _NOTHING if made.endswith(".") else ""
    return f"{before}{made}{after}"


def _part(part: str, *, first: bool) -> str:
    """What stands between two commas: it is stripped, and gets one blank behind a comma."""
    given = "" if first else " "
    text = part.removeprefix(given)
    before = _NOTHING if not text or text[0].isspace() else ""
    after = _NOTHING if text and text[-1].isspace() else ""
    return given + _BLANKS.sub(_kept_blanks, f"{before}{text}{after}")


def _kept_blanks(run: re.Match[str]) -> str:
    return " " + f"{_NOTHING} " * (len(run[0]) - 1)
