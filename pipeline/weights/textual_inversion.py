"""Textual-inversion files: learned word vectors that a prompt names as ``embedding:name``."""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from pipeline.weights.tensors import read_values

log = logging.getLogger(__name__)

SUFFIXES: Final = (".safetensors", ".pt", ".bin")
_BY_ENCODER: Final = ("clip_l", "clip_g")  # SDXL's files have a tensor for each
_VECTORS: Final = "string_to_param"  # in the first trainers' files, which are of one encoder
_IN_PROMPT: Final = re.compile(r"(?:^|[\s(])embedding:([^\s():]+)")


class InversionLibrary:
    """The folder of textual inversions. Files are read when a prompt names them."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def vectors(self, name: str, encoder: str, width: int) -> Sequence[Tensor] | None:
        """Vectors of ``width`` for ``clip_l`` or ``clip_g``; None without such a file or part.

        A file for one encoder alone serves the one that it fits. Raises InvalidModelFile.
        """
        path = self.path(name)
        if path is None:
            log.warning("a prompt names a textual inversion that is not installed")
            return None
        for tensor in _tensors(path, encoder):
            if tensor.ndim in (1, 2) and tensor.shape[-1] == width:
                return list(tensor.float().reshape(-1, width))
        log.info("the textual inversion %s has no vectors of %s for %s", name, width, encoder)
        return None

    def path(self, name: str) -> Path | None:
        """The file of that name, with or without its ending, in the folder or below it."""
        if self._folder is None or not self._folder.is_dir():
            return None
        wanted = {name, *(name + suffix for suffix in SUFFIXES)}
        files = (file for file in sorted(self._folder.rglob("*")) if file.suffix in SUFFIXES)
        return next((file for file in files if file.name in wanted and file.is_file()), None)


def named_inversions(texts: Iterable[str]) -> tuple[str, ...]:
    """The names that texts say after ``embedding:``, each once, in order."""
    found = (name.strip(",") for text in texts for name in _IN_PROMPT.findall(text))
    return tuple(dict.fromkeys(name for name in found if name))


def _tensors(path: Path, encoder: str) -> Iterator[Tensor]:
    """What may be the encoder's vectors."""
    values: Mapping[str, Any] = read_values(path, "embedding")
    if any(part in values for part in _BY_ENCODER):
        found = [values.get(encoder)]
    elif isinstance(values.get(_VECTORS), Mapping):
        found = list(values[_VECTORS].values())
    else:  # one tensor under the word that stands for it
        found = list(values.values())
    yield from (each for each in found if isinstance(each, Tensor))
