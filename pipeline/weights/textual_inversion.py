"""Textual-inversion files (arXiv:2208.01618): vectors that a prompt names as ``embedding:name``.

diffusers reads most of these files too, but adds their words to a tokenizer for good; here each
prompt names files, as in ComfyUI and Fooocus.
"""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from pipeline.files.catalog import TORCH_TOO
from pipeline.files.file_format import FileFormat, require_format
from pipeline.files.listing import FolderListing
from pipeline.weights.pickled import load_pickled
from pipeline.weights.tensors import read_tensors

log = logging.getLogger(__name__)

SUFFIXES: Final = TORCH_TOO
_KIND: Final = "embedding"
_BY_ENCODER: Final = ("clip_l", "clip_g")  # SDXL's files have a tensor for each
_VECTORS: Final = "string_to_param"  # in the first trainers' files, which are of one encoder
_IN_PROMPT: Final = re.compile(r"(?:^|[\s(])embedding:([^\s():]+)")


class InversionLibrary:
    """The folder of textual inversions. Files are read when a prompt names them."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder or Path()
        self._listing = FolderListing(folder, SUFFIXES) if folder else None
        self._index: tuple[Sequence[str], Mapping[str, str]] = ((), {})  # of these names

    def vectors(self, name: str, encoder: str, width: int) -> Sequence[Tensor] | None:
        """Vectors of ``width`` for ``clip_l`` or ``clip_g``; None without such a file or part.

        A file for one encoder alone serves the one that it fits. Raises InvalidModelFile.
        """
        path = self.path(name)
        if path is None:
            log.warning("a prompt names a textual inversion that is not installed")
            return None
        if fitting := _learned(path, encoder, width):
            return list(torch.cat([each.float().reshape(-1, width) for each in fitting]))
        log.info("the textual inversion %s has no vectors of %s for %s", name, width, encoder)
        return None

    def path(self, name: str) -> Path | None:
        """The file of a name, with or without its ending.

        The name is a path below the folder, as ``/v1/models`` lists it, or the file's name alone;
        of several files of that name the one in the outermost folder is meant, then the first.
        """
        if self._listing is None:
            return None
        names = self._listing.names()
        if names is not self._index[0]:
            self._index = (names, _index(names))
        found = self._index[1].get(name.replace("\\", "/"))
        return self._folder / found if found else None


def named_inversions(texts: Iterable[str]) -> tuple[str, ...]:
    """The names that texts say after ``embedding:``, each once, in order."""
    found = (name.strip(",") for text in texts for name in _IN_PROMPT.findall(text))
    return tuple(dict.fromkeys(name for name in found if name))


def _index(names: Sequence[str]) -> dict[str, str]:
    """Each file by what a prompt may call it: its path first, else its name alone."""
    index: dict[str, str] = {}
    for name in names:
        for key in _with_and_without_ending(name):
            index.setdefault(key, name)
    for name in sorted(names, key=lambda each: each.count("/")):
        for key in _with_and_without_ending(name.rpartition("/")[2]):
            index.setdefault(key, name)
    return index


def _with_and_without_ending(name: str) -> tuple[str, str]:
    return name, name.rpartition(".")[0]


def _learned(path: Path, encoder: str, width: int) -> list[Tensor]:
    """The vectors of that width: the first of a file, or all of one that is a list of them."""
    formats = (FileFormat.SAFETENSORS, FileFormat.TORCH)
    if require_format(path, _KIND, *formats) is FileFormat.SAFETENSORS:
        return list(islice(_fitting(read_tensors(path, _KIND), encoder, width), 1))
    loaded = load_pickled(path, _KIND)
    if isinstance(loaded, list):
        named = (each for each in loaded if isinstance(each, dict))
        return [tensor for each in named for tensor in _fitting(each, encoder, width)]
    return list(islice(_fitting(loaded, encoder, width), 1)) if isinstance(loaded, dict) else []


def _fitting(values: Mapping[str, Any], encoder: str, width: int) -> Iterator[Tensor]:
    if any(part in values for part in _BY_ENCODER):
        found = [values.get(encoder)]
    elif hasattr(values.get(_VECTORS), "values"):
        found = list(values[_VECTORS].values())
    else:  # one tensor under the word that it stands for
        found = list(values.values())
    for each in found:
        if isinstance(each, Tensor) and each.ndim in (1, 2) and each.shape[-1] == width:
            yield each
