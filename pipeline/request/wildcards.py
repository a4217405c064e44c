"""Arrays ``[[a, b]]`` and wildcards ``__name__`` in prompts. Torch-free.

Both are choices a picture makes by itself: an array by the picture's number, a wildcard by the
picture's own random stream.
"""

import random
import re
from pathlib import Path
from typing import Final

MAX_DEPTH: Final = 64
MAX_CHARS: Final = 32768  # a file that names itself twice a line would grow for ever
_ARRAY: Final = re.compile(r"\[\[(.*?)\]\]")
_WILDCARD: Final = re.compile(r"__([\w-]+)__")


def apply_arrays(text: str, index: int) -> str:
    """Take one item of every array for picture ``index``; the first array changes fastest."""
    for match in _ARRAY.finditer(text):
        items = match[1].split(",")
        index, chosen = divmod(index, len(items))
        text = text.replace(match[0], items[chosen], 1)
    return text


class Wildcards:
    """Text files of one folder and those below it, a choice a line. Any thread may call."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def apply(self, text: str, rng: random.Random, *, index: int, in_order: bool) -> str:
        """Fill in every wildcard of ``text``, those that come out of a file too.

        In order means line ``index`` of each file, from the start again after the last. Without a
        file the word itself stays.
        """
        lines: dict[str, list[str]] = {}
        for _ in range(MAX_DEPTH):
            names = _WILDCARD.findall(text)
            if not names:
                break
            for name in names:
                if name not in lines:
                    lines[name] = self._lines(name)
                words = lines[name] or [name]
                if lines[name] and not in_order:
                    word = rng.choice(words)
                else:
                    word = words[index % len(words)]
                text = text.replace(f"__{name}__", word, 1)
                if len(text) > MAX_CHARS:
                    return text[:MAX_CHARS]
        return text

    def _lines(self, name: str) -> list[str]:
        """Lines that are not empty. ``name`` holds only word characters and dashes."""
        path = next(iter(sorted(self._folder.rglob(f"{name}.txt"))), None)
        if path is None:
            return []
        try:
            text = path.read_text(encoding="utf-8-sig", errors="replace")
        except OSError:
            return []
        return [line for line in text.splitlines() if line]
