"""Arrays ``[[a, b]]`` and wildcards ``__name__`` in prompts.

Both are chosen image by image: an array item by the image's index, a wildcard line by the image's
random stream.
"""

import os
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

MAX_DEPTH: Final = 64
MAX_CHARS: Final = 32768  # a file that names itself twice a line would grow for ever
MAX_FILLED: Final = 1024  # wildcards that one text may hold; later ones stay as they are
_SUFFIX: Final = ".txt"
_WILDCARD: Final = re.compile(r"__([\w-]+)__")


def apply_arrays(text: str, index: int) -> str:
    """Take one item of every array for image ``index``; the first array changes fastest.

    An array begins and ends on one line.
    """
    filled: list[str] = []
    end = 0
    for begin, close in _arrays(text):
        items = text[begin + 2 : close].split(",")
        index, chosen = divmod(index, len(items))
        filled += text[end:begin], items[chosen]
        end = close + 2
    return "".join([*filled, text[end:]])


def _arrays(text: str) -> Iterator[tuple[int, int]]:
    """Where each array begins, and where its ``]]`` is."""
    place = 0
    while (begin := text.find("[[", place)) >= 0 and (close := text.find("]]", begin + 2)) >= 0:
        line_end = text.rfind("\n", begin, close)
        if line_end < 0:
            yield begin, close
        place = close + 2 if line_end < 0 else line_end + 1


class Wildcards:
    """Text files of one folder and those below it, a choice a line. Any thread may call."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def filling(self, rng: random.Random, *, index: int, in_order: bool) -> "Filling":
        """The choices of image ``index``, from its random stream.

        In order means line ``index`` of each file, from the start again after the last.
        """
        return Filling(self._folder, rng, index if in_order else None)

    def names(self) -> list[str]:
        """What prompts write as ``__name__``, in alphabetical order."""
        names = _text_files(self._folder)
        return sorted(name for name in names if _WILDCARD.fullmatch(f"__{name}__"))

    def apply(self, text: str, rng: random.Random, *, index: int, in_order: bool) -> str:
        """``filling`` of one text."""
        return self.filling(rng, index=index, in_order=in_order)(text)


class Filling:
    """Fills in the wildcards of one image's texts. Reads the folder and each file once."""

    def __init__(self, folder: Path, rng: random.Random, line: int | None) -> None:
        """``line`` is the index to take from each file; None draws from ``rng``."""
        self._folder = folder
        self._rng = rng
        self._line = line
        self._paths: dict[str, Path] | None = None
        self._lines: dict[str, list[str]] = {}

    def __call__(self, text: str) -> str:
        """Fill in every wildcard of ``text``, also those in the lines of files.

        A wildcard without a file becomes the name between its underscores.
        """
        left = MAX_FILLED
        for _ in range(MAX_DEPTH):
            names = _WILDCARD.findall(text)[:left]
            if not names:
                break
            left -= len(names)
            for name in names:
                text = text.replace(f"__{name}__", self._word(name), 1)
                if len(text) > MAX_CHARS:
                    return text[:MAX_CHARS]
        return text

    def _word(self, name: str) -> str:
        if name not in self._lines:
            self._lines[name] = self._read(name)
        lines = self._lines[name]
        if not lines:
            return name
        return self._rng.choice(lines) if self._line is None else lines[self._line % len(lines)]

    def _read(self, name: str) -> list[str]:
        """Lines that are not empty."""
        if self._paths is None:
            self._paths = _text_files(self._folder)
        path = self._paths.get(name)
        if path is None:
            return []
        try:
            text = path.read_text(encoding="utf-8-sig", errors="replace")
        except OSError:
            return []
        return [line for line in text.splitlines() if line]


def _text_files(folder: Path) -> dict[str, Path]:
    """The text files by name without ``.txt``; of two with one name, the first by path."""
    found = sorted(
        Path(parent, name)
        for parent, _, names in os.walk(folder)
        for name in names
        if name.endswith(_SUFFIX)
    )
    return {path.name.removesuffix(_SUFFIX): path for path in reversed(found)}
