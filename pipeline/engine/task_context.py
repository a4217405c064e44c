"""Where the models and input pictures of one task come from. Device thread only."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from PIL import Image

from pipeline.files.auxiliary import PartFiles
from pipeline.files.registry import KnownFile
from pipeline.images.encode import open_mask, open_upright
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.manager import Residency
from pipeline.models.vae import Vae
from pipeline.scheduling.task import InputPictures, Reporter, check_stopped

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Workshop:
    """A loaded base model, and what is loaded beside it when it is asked for."""

    residency: Residency
    parts: PartFiles
    inputs: InputPictures
    device: torch.device
    model: str  # the base model's name
    checkpoint: Checkpoint
    vae: Vae  # the checkpoint's own, or the one that the request names
    reporter: Reporter

    def check(self) -> None:
        """Raise TaskAborted if a person asked for it; no picture is begun that could be skipped."""
        check_stopped(self.reporter)

    def picture(self, path: str) -> Image.Image:
        """A stored input picture, upright, in RGB. Raises InputMissing, UnreadableImage."""
        return open_upright(self.inputs.read(path))

    def mask(self, path: str) -> Image.Image:
        """A stored mask's levels, upright. Raises as ``picture``."""
        return open_mask(self.inputs.read(path))

    def part_path(self, file: KnownFile) -> Path:
        """Where the file that plays this part beside the model is, fetched if need be.

        Raises ModelNotInstalled, DownloadFailed, TaskAborted.
        """
        return self.parts.require(file, self.model, self.reporter)

    def part(
        self, kind: str, file: KnownFile, load: Callable[[Path], T], *, bound: bool = False
    ) -> T:
        """What ``load`` makes of that file, kept while there is room.

        ``bound``: it holds on to the checkpoint's modules, so it goes when the checkpoint does.
        """
        path = self.part_path(file)
        beside = self.checkpoint if bound else None
        return self.residency.auxiliary(
            kind, path.name, path, load, beside=beside, reporter=self.reporter
        )

    def done_with(self, kind: str, file: KnownFile) -> None:
        """The task needs that part no more: it may leave when something else wants its room."""
        self.residency.done_with(kind, self.part_path(file).name)
