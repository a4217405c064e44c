"""A model that one of diffusers' own pipelines runs, from a folder in diffusers' layout."""

import inspect
import logging
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from pipeline.errors import InvalidModelFile
from pipeline.files.diffusers_folder import check_folder, read_folder
from pipeline.memory.device import place
from pipeline.models.latent_preview import fitted_rgb
from pipeline.models.whole_diffusers import whole_diffusers
from pipeline.request.architectures import Architecture
from pipeline.sampling.latent_format import LatentRgb

log = logging.getLogger(__name__)

# Without accelerate, which no other part needs, diffusers loads this way in any case and warns.
_LOADING: Final = {"low_cpu_mem_usage": False, "local_files_only": True, "use_safetensors": True}
_HALVES: Final = ("fp16", "bf16")  # file name variants, where there is no other


class DiffusersModel:
    """A loaded text-to-image pipeline with its twins for image inputs, which share its modules."""

    def __init__(self, name: str, pipe: Any, architecture: Architecture) -> None:
        self.name = name
        self.pipe = pipe
        self.architecture = architecture
        self._twins: dict[str, Any] = {architecture.pipeline: pipe}

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """Every network of it, text encoders included."""
        components = self.pipe.components.values()
        return tuple(each for each in components if isinstance(each, nn.Module))

    def twin(self, pipeline: str) -> Any:
        """The pipeline class of that name over the same components; nothing is copied."""
        if pipeline not in self._twins:
            kind = getattr(whole_diffusers(), pipeline)
            # Not from_pipe, which casts the shared modules to float32 unless told their dtype.
            known = inspect.signature(kind.__init__).parameters
            given = {**self.pipe.config, **self.pipe.components}
            parts = {name: each for name, each in given.items() if name in known}
            self._twins[pipeline] = quiet(kind(**parts))
        return self._twins[pipeline]

    @property
    def channels(self) -> int | None:
        """Channels of its latents; None where it has no VAE with such."""
        config = getattr(self._vae, "config", {})
        for key in ("latent_channels", "z_dim"):
            if isinstance(value := config.get(key), int):
                return value
        return None

    @property
    def factor(self) -> int:
        """Pixels a latent cell, each way."""
        return int(getattr(self.pipe, "vae_scale_factor", 8))

    @cached_property
    def rgb(self) -> LatentRgb:
        """The preview of its latents, fitted to what its VAE makes of some."""
        return fitted_rgb(self._vae, self.channels or 4)

    def cells(self, latents: Tensor, width: int, height: int) -> Tensor | None:
        """Latents of a step as (1, C, h, w), in the VAE's channels; None where it is not known how.

        Pipelines of transformers pack cells of 2 x 2 into tokens (B, h / 2 * w / 2, C * 4), others
        have a frame dimension (B, C, 1, h, w).
        """
        channels = self.channels
        if latents.ndim == 3:
            rows, columns = height // (2 * self.factor), width // (2 * self.factor)
            if latents.shape[1] != rows * columns or latents.shape[2] % 4:
                return None
            cells = latents.view(latents.shape[0], rows, columns, -1, 2, 2)
            latents = cells.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
        elif latents.ndim == 5:
            latents = latents[:, :, 0] if latents.shape[2] == 1 else latents[:, 0]
        if latents.ndim != 4 or (channels is not None and latents.shape[1] != channels):
            return None
        return latents

    @property
    def _vae(self) -> Any:
        return next(
            (each for name in ("vae", "movq") if (each := getattr(self.pipe, name, None))), None
        )


def load_diffusers_model(folder: Path, device: torch.device) -> DiffusersModel:
    """Load a folder. Raises InvalidModelFile, which says what is missing or wrong."""
    found = read_folder(folder)
    if found is None:
        raise InvalidModelFile(f"{folder.name} is no folder of a diffusers pipeline")
    check_folder(folder)
    diffusers, name = whole_diffusers(), found.architecture.pipeline
    kind = getattr(diffusers, name, None)
    if kind is None:
        version = diffusers.__version__
        raise InvalidModelFile(f"{folder.name}: diffusers {version} has no pipeline {name}")
    _check_callable(kind, folder.name)
    try:
        # Written by others: whatever does not fit raises errors of all kinds.
        pipe = kind.from_pretrained(folder, torch_dtype=_dtype(folder, device), **_variant(folder))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
        told = " ".join(str(error).split())[:300]
        raise InvalidModelFile(f"the model {folder.name} cannot be loaded: {told}") from error
    model = DiffusersModel(folder.name, quiet(pipe), found.architecture)
    for part in model.parts:
        part.to(device).eval().requires_grad_(False)
    return model


def quiet(pipe: Any) -> Any:
    """The pipeline without progress bars of its own."""
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _check_callable(kind: Any, name: str) -> None:
    """Raise InvalidModelFile for a pipeline that takes more than a prompt."""
    parameters: Mapping[str, inspect.Parameter] = inspect.signature(kind.__call__).parameters
    needed = [
        each.name
        for each in parameters.values()
        if each.default is each.empty and each.name not in ("self", "prompt", "args", "kwargs")
    ]
    if "prompt" not in parameters or needed:
        told = f"it needs {', '.join(needed)}" if needed else "it takes no prompt"
        raise InvalidModelFile(f"{name}: {kind.__name__} makes no image from a text; {told}")


def _dtype(folder: Path, device: torch.device) -> torch.dtype:
    """float32 on a CPU that has room for it, otherwise half precision."""
    stored = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
    if device.type == "cpu":
        return torch.bfloat16 if place(device, stored // 2).stored else torch.float32
    if device.type == "cuda" and not torch.cuda.is_bf16_supported():
        return torch.float16
    return torch.bfloat16


def _variant(folder: Path) -> dict[str, Any]:
    """Options of loading; with the variant of the files where there is only that one."""
    files = [file.name for file in folder.rglob("*.safetensors")]
    for variant in _HALVES:
        if files and all(f".{variant}." in name or f".{variant}-" in name for name in files):
            return {**_LOADING, "variant": variant}
    return dict(_LOADING)
