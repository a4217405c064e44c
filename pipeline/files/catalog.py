"""The installed model files: names as clients say them, and their paths.

A name is the path below its folder with forward slashes; it never leads out of its folder.
"""

from pathlib import Path
from typing import Final

from pipeline.errors import ModelNotFound
from pipeline.files.header import HeaderCache, ModelHeader
from pipeline.files.listing import FolderListing
from pipeline.request.choices import DEFAULT_UPSCALER, DEFAULT_VAE, EMBEDDED

COMPANIONS: Final = Path(__file__).parent.parent / "embedded" / "companions"  # that ship with it
CHECKPOINTS: Final = "checkpoints"
LORAS: Final = "loras"
VAES: Final = "vae"
EMBEDDINGS: Final = "embeddings"
UPSCALERS: Final = "upscale_models"
PROMPT_EXPANSION: Final = "prompt_expansion"
# Small files in torch's own format are about; nothing but tensors is read from one.
TORCH_TOO: Final = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
_SUFFIXES: Final = {
    CHECKPOINTS: (".safetensors",),
    LORAS: TORCH_TOO,
    VAES: TORCH_TOO,
    EMBEDDINGS: TORCH_TOO,
    UPSCALERS: TORCH_TOO,
}
# Names without a file.
_BESIDE_FILES: Final = {
    CHECKPOINTS: (EMBEDDED,),
    VAES: (DEFAULT_VAE,),
    UPSCALERS: (DEFAULT_UPSCALER,),
}
_MAX_NAMED: Final = 20

Field = tuple[str | int, ...]


class ModelCatalog:
    """The models folder. Any thread may call; a change on disk is seen at the next call."""

    def __init__(self, models_dir: Path) -> None:
        self.models_dir = models_dir
        self._listings = {
            folder: FolderListing(models_dir / folder, suffixes, diffusers=folder == CHECKPOINTS)
            for folder, suffixes in _SUFFIXES.items()
        }
        self._headers = HeaderCache()

    def checkpoints(self) -> list[str]:
        """The embedded model, then safetensors files and diffusers folders."""
        return [EMBEDDED, *self._names(CHECKPOINTS)]

    def loras(self) -> list[str]:
        """LoRA files, torch's own format too."""
        return list(self._names(LORAS))

    def vaes(self) -> list[str]:
        """VAE files, after the choice of the checkpoint's own."""
        return [DEFAULT_VAE, *self._names(VAES)]

    def upscalers(self) -> list[str]:
        """Upscaler files, torch's own format too."""
        return list(self._names(UPSCALERS))

    def embeddings(self) -> list[str]:
        """Textual-inversion files."""
        return list(self._names(EMBEDDINGS))

    def has(self, folder: str, name: str) -> bool:
        """Whether a file or diffusers folder of that name is installed in ``folder``."""
        # Only a name that a listing shows becomes a path, so none can lead out of the folder.
        return name in self._names(folder)

    def not_found(self, folder: str, name: str, field: Field) -> ModelNotFound:
        """The error for a name that is unknown: it lists what is installed."""
        known = [*_BESIDE_FILES.get(folder, ()), *self._names(folder)]
        listed = ", ".join(known[:_MAX_NAMED]) or "none"
        more = f" and {len(known) - _MAX_NAMED} more" if len(known) > _MAX_NAMED else ""
        message = f"no {name[:120]!r} in models/{folder}; installed: {listed}{more}"
        return ModelNotFound(field, message)

    def header(self, kind: str, name: str) -> ModelHeader:
        """What the file of a listed name says of its training."""
        return self._headers.header(self.models_dir / kind / name)

    def _names(self, kind: str) -> tuple[str, ...]:
        return self._listings[kind].names()
