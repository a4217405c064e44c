"""Paths of the vision models. Missing files are fetched if downloads are allowed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from pipeline.errors import ModelNotInstalled
from pipeline.files.locate import ModelFiles
from pipeline.files.packaged import packaged_model
from pipeline.files.registry import (
    BACKGROUND_MODELS,
    CAPTIONER,
    CLIP_VISION,
    DETECTOR,
    SAFETY_CHECKER,
    SAFETY_MODEL,
    SAM,
    SAM_MODELS,
    TAGGER,
    KnownFolder,
)
from pipeline.request.choices import MaskModel, SamModel
from pipeline.scheduling.task import Reporter

TAGGER_MODEL: Final = "model.onnx"
TAGGER_TABLE: Final = "selected_tags.csv"
_FOOOCUS_TAGGER: Final = "wd-v1-4-moat-tagger-v2"  # in clip_vision, as .onnx and .csv
_CONFIG: Final = "config.json"  # makes a folder a model
_SAM_FOLDERS: Final[dict[SamModel, str]] = {
    "vit_b": "sam-vit-base",
    "vit_l": "sam-vit-large",
    "vit_h": "sam-vit-huge",
}


class TaggerFiles(NamedTuple):
    """The two files of a tagger."""

    model: Path
    table: Path


class VisionFiles:
    """Paths of the vision models. Its methods may download: device threads only.

    All raise ModelNotInstalled, DownloadFailed, and TaskAborted where a reporter's task is stopped.
    """

    def __init__(self, files: ModelFiles) -> None:
        self._files = files

    def background(self, model: MaskModel, reporter: Reporter | None = None) -> Path:
        """The ONNX file of a foreground model; of u2netp the packaged copy where no other is."""
        known = BACKGROUND_MODELS[model]
        if not self._files.has(known) and (packaged := packaged_model(known)):
            return packaged
        return self._files.require(known, reporter)

    def sam(self, size: SamModel, reporter: Reporter | None = None) -> Path:
        """A folder in transformers' layout, else the original file."""
        folder = self._files.models_dir / SAM / _SAM_FOLDERS[size]
        if (folder / _CONFIG).is_file():
            return folder
        return self._files.require(SAM_MODELS[size], reporter)

    def detector(self, reporter: Reporter | None = None) -> Path:
        """Grounding DINO's folder."""
        return self._folder(DETECTOR, _CONFIG, reporter)

    def captioner(self, reporter: Reporter | None = None) -> Path:
        """BLIP's folder."""
        return self._folder(CAPTIONER, _CONFIG, reporter)

    def tagger(self, reporter: Reporter | None = None) -> TaggerFiles:
        """The tagger's files, in a folder of their own or where Fooocus keeps them."""
        fooocus = self._files.models_dir / CLIP_VISION
        pair = TaggerFiles(fooocus / f"{_FOOOCUS_TAGGER}.onnx", fooocus / f"{_FOOOCUS_TAGGER}.csv")
        if pair.model.is_file() and pair.table.is_file():
            return pair
        folder = self._folder(TAGGER, TAGGER_MODEL, reporter)
        return TaggerFiles(folder / TAGGER_MODEL, folder / TAGGER_TABLE)

    def safety_checker(self, reporter: Reporter | None = None) -> Path:
        """A folder in transformers' layout, else the single file."""
        folder = self._files.models_dir / SAFETY_CHECKER
        if (folder / _CONFIG).is_file():
            return folder
        return self._files.require(SAFETY_MODEL, reporter)

    def _folder(self, known: KnownFolder, marker: str, reporter: Reporter | None) -> Path:
        """The folder with ``marker``: the last installed one by name, else the published one."""
        home = self._files.models_dir / known.folder.partition("/")[0]
        if found := [folder for folder in _folders(home) if (folder / marker).is_file()]:
            return found[-1]
        if not self._files.allowed:
            names = ", ".join(file.name for file in known.files)
            raise ModelNotInstalled(
                f"{known.title} is not installed; put {names} from {known.source} into"
                f" models/{known.folder}"
                " (this server does not download: --downloads forbid)"
            )
        # The marker is fetched last, so a folder that has it is complete.
        for file in sorted(known.files, key=lambda file: file.name == marker):
            self._files.require(file, reporter)
        return self._files.models_dir / known.folder


def _folders(home: Path) -> Iterator[Path]:
    """The folder itself, then those in it."""
    yield home
    if home.is_dir():
        yield from sorted(path for path in home.iterdir() if path.is_dir())
