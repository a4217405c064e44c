"""Which model files are there: names as clients say them, and their paths. Torch-free.

A name is the path below its folder with forward slashes. The owner may link files and folders
from elsewhere; a name in a request never leads out of its folder.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from pipeline.errors import ModelNotFound
from pipeline.files.header import HeaderCache, ModelHeader
from pipeline.request.choices import DEFAULT_VAE, EMBEDDED, NO_MODEL

COMPANIONS: Final = Path(__file__).parent.parent / "embedded" / "companions"  # that ship with it
CHECKPOINTS: Final = "checkpoints"
LORAS: Final = "loras"
VAES: Final = "vae"
EMBEDDINGS: Final = "embeddings"
PROMPT_EXPANSION: Final = "prompt_expansion"
_SUFFIXES: Final = (".safetensors",)  # of checkpoints
# Small files in torch's own format are about; nothing but tensors is read from one.
TORCH_TOO: Final = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
_SUFFIXES_OF: Final = {LORAS: TORCH_TOO, VAES: TORCH_TOO, EMBEDDINGS: TORCH_TOO}
_BESIDE_FILES: Final = {CHECKPOINTS: (EMBEDDED,), VAES: (DEFAULT_VAE,)}  # names without a file
_MARKER: Final = "model_index.json"  # makes a folder a diffusers model
_MAX_NAMED: Final = 20

Field = tuple[str | int, ...]


class _Wanted(NamedTuple):
    """What a listing takes: files with these endings, and diffusers folders where said."""

    suffixes: tuple[str, ...]
    folders: bool


class ModelCatalog:
    """The models folder, read from disk at every call. Any thread may call."""

    def __init__(self, models_dir: Path) -> None:
        self.models_dir = models_dir
        self._headers = HeaderCache()

    def checkpoints(self) -> list[str]:
        """The embedded model, then safetensors files and diffusers folders."""
        return [EMBEDDED, *self._names(CHECKPOINTS)]

    def loras(self) -> list[str]:
        """LoRA files, torch's own format too."""
        return self._names(LORAS)

    def vaes(self) -> list[str]:
        """VAE files, after the choice of the checkpoint's own."""
        return [DEFAULT_VAE, *self._names(VAES)]

    def embeddings(self) -> list[str]:
        """Textual-inversion files."""
        return self._names(EMBEDDINGS)

    def checkpoint(self, name: str, field: Field = ("base_model_name",)) -> Path | None:
        """File or diffusers folder of a checkpoint; None is the embedded model.

        Raises ModelNotFound.
        """
        if name == EMBEDDED:
            return None
        return self.file(CHECKPOINTS, name, field)

    def lora(self, name: str, field: Field = ("loras",)) -> Path:
        """File of a LoRA. Raises ModelNotFound."""
        return self.file(LORAS, name, field)

    def vae(self, name: str, field: Field = ("vae_name",)) -> Path | None:
        """File of a VAE; None is the checkpoint's own. Raises ModelNotFound."""
        if name in (DEFAULT_VAE, NO_MODEL):
            return None
        return self.file(VAES, name, field)

    def file(self, kind: str, name: str, field: Field) -> Path:
        """File or diffusers folder of a name in the folder ``kind``. Raises ModelNotFound."""
        known = self._names(kind)
        # Only a name that a listing shows becomes a path, so none can lead out of the folder.
        if name in known:
            return self.models_dir / kind / name
        known = [*_BESIDE_FILES.get(kind, ()), *known]
        listed = ", ".join(known[:_MAX_NAMED]) or "none"
        more = f" and {len(known) - _MAX_NAMED} more" if len(known) > _MAX_NAMED else ""
        message = f"no {name[:120]!r} in models/{kind}; installed: {listed}{more}"
        raise ModelNotFound(field, message)

    def header(self, kind: str, name: str) -> ModelHeader:
        """What the file of a listed name says of its training."""
        return self._headers.header(self.models_dir / kind / name)

    def _names(self, kind: str) -> list[str]:
        suffixes = _SUFFIXES_OF.get(kind, _SUFFIXES)
        return file_names(self.models_dir / kind, suffixes, folders=kind == CHECKPOINTS)


def file_names(folder: Path, suffixes: tuple[str, ...], *, folders: bool = False) -> list[str]:
    """Names of the files below ``folder`` with these endings, and of diffusers ``folders``."""
    wanted = _Wanted(suffixes, folders)
    return sorted(_walk(folder, "", wanted, above=()), key=_sort_key)


def _walk(folder: Path, prefix: str, wanted: _Wanted, above: tuple[str, ...]) -> Iterator[str]:
    """Names below ``folder``, through links, but never twice round a loop of links."""
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        name = f"{prefix}{entry.name}"
        if entry.name.startswith(".") or not _is_utf8(entry.name):
            continue
        if not entry.is_dir():
            if entry.name.endswith(wanted.suffixes) and entry.is_file():
                yield name
        elif wanted.folders and (Path(entry.path) / _MARKER).is_file():
            yield name
        else:
            path = Path(entry.path)
            yield from _walk(path, f"{name}/", wanted, above=(*above, real))


def _is_utf8(name: str) -> bool:
    """False for a file name of other bytes, which no JSON reply could carry."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _sort_key(name: str) -> tuple[str, str]:
    return (name.casefold(), name)
