"""Style templates: JSON files in Fooocus's format, read again when one changes."""

import logging
import os
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from pipeline.errors import InvalidParameter

log = logging.getLogger(__name__)

EXPANSION: Final = "Fooocus V2"  # continues the prompt instead of wrapping it
RANDOM: Final = "Random Style"
# Fooocus lists its own files last and in this order; random styles are drawn by position.
_LAST: Final = (
    "sdxl_styles_fooocus.json",
    "sdxl_styles_sai.json",
    "sdxl_styles_mre.json",
    "sdxl_styles_twri.json",
    "sdxl_styles_diva.json",
    "sdxl_styles_marc_k3nt3l.json",
)
_UPPER: Final = re.compile(r"\b(?:3d|sai|mre)\b", re.IGNORECASE)


class Template(msgspec.Struct, frozen=True):
    """One style. ``{prompt}`` stands for the user's prompt; each line is a text of its own."""

    name: str
    prompt: str = ""
    negative_prompt: str = ""


_Stamp = tuple[int, int]  # mtime in ns, size
_decode = msgspec.json.Decoder(list[Template]).decode


def normalise_name(name: str) -> str:
    """``sai-3d-model`` → ``SAI 3D Model``, as Fooocus shows it."""
    words = (word[:1].upper() + word[1:].lower() for word in name.replace("-", " ").split(" "))
    text = _UPPER.sub(lambda match: match[0].upper(), " ".join(words))
    return text.replace("(s", "(S")


class StyleLibrary:
    """The templates of one folder. Any thread may call; a changed file is seen at the next call."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[str, tuple[_Stamp, tuple[Template, ...]]] = {}
        self._merged: tuple[list[tuple[Template, ...]], Mapping[str, Template]] = ([], {})

    def names(self) -> tuple[str, ...]:
        """Every legal style name: the two special ones, then the templates."""
        return (EXPANSION, RANDOM, *self.templates())

    def templates(self) -> Mapping[str, Template]:
        """Templates by name; of a name given twice the later file counts."""
        files = [self._read_file(entry) for entry in self._files()]
        known, merged = self._merged
        if files != known:  # files that were not read again are the same objects, so this is quick
            merged = {style.name: style for templates in files for style in templates}
            self._merged = (files, merged)
        return merged

    def check(self, names: Iterable[str]) -> None:
        """Raise InvalidParameter for the first name that is no style."""
        templates = self.templates()
        for i, name in enumerate(names):
            if name not in templates and name not in (EXPANSION, RANDOM):
                message = f"unknown style {name[:80]!r}; GET /v1/engines/styles lists them"
                raise InvalidParameter(("style_selections", i), message)

    def draw(self, names: Sequence[str], rng: random.Random) -> tuple[str, ...]:
        """The styles to apply: random ones drawn, the prompt expansion left out."""
        templates = tuple(self.templates())
        chosen = []
        for name in names:
            if name == RANDOM and templates:
                chosen.append(rng.choice(templates))
            elif name not in (EXPANSION, RANDOM):
                chosen.append(name)
        return tuple(chosen)

    def apply(self, names: Sequence[str], prompt: str) -> tuple[list[str], list[str]]:
        """Positive and negative texts of drawn styles, in order.

        ``prompt`` itself comes first unless a style has a place for it. Raises InvalidParameter.
        """
        templates = self.templates()
        self.check(names)
        chosen = [templates[name] for name in names]
        positives: list[str] = []
        negatives: list[str] = []
        for style in chosen:
            positives += style.prompt.replace("{prompt}", prompt).splitlines()
            negatives += style.negative_prompt.splitlines()
        if not any("{prompt}" in style.prompt for style in chosen):
            positives.insert(0, prompt)
        return positives, negatives

    def _files(self) -> list[os.DirEntry[str]]:
        """The style files in the order in which they are merged. Read at every admission."""
        try:
            with os.scandir(self._folder) as entries:
                return sorted((e for e in entries if e.name.endswith(".json")), key=_rank)
        except FileNotFoundError:
            return []

    def _read_file(self, entry: os.DirEntry[str]) -> tuple[Template, ...]:
        try:
            status = entry.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            known = self._read.get(entry.path)
            if known is not None and known[0] == stamp:
                return known[1]
            styles = _decode(Path(entry).read_bytes())
        except OSError as error:
            log.warning("Styles in %s cannot be read: %s", entry.path, error)
            return ()
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            log.warning("Styles in %s are not in Fooocus's format: %s", entry.path, error)
            styles = []
        templates = tuple(msgspec.structs.replace(s, name=normalise_name(s.name)) for s in styles)
        self._read[entry.path] = (stamp, templates)
        return templates


def _rank(entry: os.DirEntry[str]) -> tuple[int, str]:
    return (_LAST.index(entry.name) + 1 if entry.name in _LAST else 0, entry.name)
