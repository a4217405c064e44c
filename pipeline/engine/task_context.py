"""The models and input images of one task."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from PIL import Image

from pipeline.errors import InputMissing, InvalidModelFile
from pipeline.files.auxiliary import AuxiliaryFiles
from pipeline.files.registry import UPSCALER
from pipeline.images.read import open_mask, open_upright
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.manager import ModelManager
from pipeline.models.vae import Vae
from pipeline.request.model_file import ModelFile
from pipeline.scheduling.engine_protocol import Inputs
from pipeline.scheduling.task import Reporter, check_stopped
from pipeline.vision.toolbox import Toolbox

T = TypeVar("T")


class SdxlModels(NamedTuple):
    """A loaded SDXL model, with the VAE that is used: its own, or the one of the request."""

    checkpoint: Checkpoint
    vae: Vae


@dataclass(frozen=True, slots=True)
class TaskContext:
    """The loaded base model, and access to auxiliary models, image tools and input images."""

    manager: ModelManager
    files: AuxiliaryFiles
    toolbox: Toolbox
    inputs: Inputs
    device: torch.device
    model: str  # the base model's name
    sdxl: SdxlModels | None  # None for a model that diffusers runs
    reporter: Reporter
    upscaler: ModelFile = UPSCALER  # or the one that the request names

    @property
    def checkpoint(self) -> Checkpoint:
        """The SDXL model. Raises InvalidModelFile if the base model is none."""
        return self._sdxl.checkpoint

    @property
    def vae(self) -> Vae:
        """The VAE of SDXL's runs. Raises as ``checkpoint``."""
        return self._sdxl.vae

    @property
    def _sdxl(self) -> SdxlModels:
        if self.sdxl is None:
            raise InvalidModelFile(f"{self.model} is no SDXL model")
        return self.sdxl

    def check(self) -> None:
        """Raise TaskAborted if the task was stopped. A skip is ignored: no image has begun."""
        check_stopped(self.reporter)

    def picture(self, path: str) -> Image.Image:
        """A stored input image, upright, in RGB. Raises InputMissing, UnreadableImage."""
        return open_upright(self._input(path))

    def mask(self, path: str) -> Image.Image:
        """A stored mask, upright, in greyscale. Raises as ``picture``."""
        return open_mask(self._input(path))

    def _input(self, path: str) -> bytes:
        if path not in self.inputs:
            raise InputMissing(f"the input image {path} was not given to this run")
        return self.inputs[path]

    def auxiliary_path(self, file: ModelFile) -> Path:
        """Path of an auxiliary model file for the base model, fetched if need be.

        Raises ModelNotInstalled, DownloadFailed, TaskAborted.
        """
        return self.files.require(file, self.model, self.reporter)

    def auxiliary(
        self, kind: str, file: ModelFile, load: Callable[[Path], T], *, bound: bool = False
    ) -> T:
        """The auxiliary model that ``load`` reads from ``file``, from the cache if it is there.

        ``bound``: it uses modules of the checkpoint and is dropped with it.
        """
        path = self.auxiliary_path(file)
        base = self.checkpoint if bound else None
        return self.manager.auxiliary(
            kind, path.name, path, load, base=base, reporter=self.reporter
        )

    def done_with(self, kind: str, file: ModelFile) -> None:
        """The task no longer needs that auxiliary model: it may be evicted."""
        self.manager.done_with(kind, self.auxiliary_path(file).name)
