"""Textual-inversion files: learned word vectors that a prompt names as ``embedding:name``."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from torch import Tensor

from pipeline.models.files import read_tensors

log = logging.getLogger(__name__)

_SUFFIX: Final = ".safetensors"


class InversionLibrary:
    """The folder of textual inversions. Files are read when a prompt names them."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def vectors(self, name: str, encoder: str) -> Sequence[Tensor] | None:
        """Vectors for ``clip_l`` or ``clip_g``; None if there is no such file or part."""
        path = self._path(name)
        if path is None:
            log.warning("a prompt names a textual inversion that is not installed")
            return None
        tensor = read_tensors(path).get(encoder)
        return None if tensor is None else list(tensor.float().reshape(-1, tensor.shape[-1]))

    def _path(self, name: str) -> Path | None:
        """A file of the folder itself: a name with separators finds nothing."""
        if self._folder is None or not self._folder.is_dir():
            return None
        wanted = {name, name + _SUFFIX}
        files = (file for file in self._folder.iterdir() if file.suffix == _SUFFIX)
        return next((file for file in files if file.name in wanted), None)
