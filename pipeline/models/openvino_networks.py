"""A checkpoint's networks on OpenVINO, for latents of one shape, and their proof against torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from pipeline.models.flat_networks import (
    LatentShape,
    in_chunks,
    residual_shapes,
    unet_inputs,
)
from pipeline.models.openvino_runtime import (
    UNET,
    VAE,
    CompiledNetwork,
    Precision,
    Runtime,
    drop_inputs,
)
from pipeline.models.unet import UNet
from pipeline.models.vae import Vae
from pipeline.sampling.denoiser import NetworkInput

# Least PSNR of one call against torch's, its peak the largest value. Measured: 141 and 61 dB.
LEAST_PSNR: Final[Mapping[Precision, float]] = {"exact": 80.0, "fast": 35.0}

_WEIGHTS: Final = "self.unet."  # before a weight's name in the IR


class Shape(NamedTuple):
    """What a UNet is compiled for: rows at a time, and whether it takes residuals."""

    latent: LatentShape
    rows: int
    controlled: bool


class OpenVinoUNet:
    """A ``ControllableUNet``. ``module`` is the diffusers UNet, for its sinusoids and sizes."""

    def __init__(self, network: CompiledNetwork, module: Any, shape: Shape) -> None:
        self._network = network
        self._module = module
        self._rows = shape.rows
        self._controlled = shape.controlled

    def __call__(
        self,
        given: NetworkInput,
        down_residuals: Sequence[Tensor] | None = None,
        middle_residual: Tensor | None = None,
    ) -> Tensor:
        """As ``ControllableUNet``; any number of rows, so many at a time as it is compiled for."""
        inputs = list(unet_inputs(self._module, given))
        if self._controlled:
            inputs += self._residuals(given.x, down_residuals, middle_residual)
        elif down_residuals is not None or middle_residual is not None:
            raise ValueError("the network was compiled without residuals")
        made = [self._network(chunk) for chunk in in_chunks(inputs, self._rows)]
        whole = made[0] if len(made) == 1 else torch.cat(made)
        return whole[: given.x.shape[0]]

    def _residuals(
        self, x: Tensor, down: Sequence[Tensor] | None, middle: Tensor | None
    ) -> list[Tensor]:
        """The residuals in the model's order, zeros where there are none."""
        middle_shape, shapes = residual_shapes(self._module, x.shape[0], LatentShape(*x.shape[2:]))
        first = torch.zeros(middle_shape) if middle is None else middle.float()
        rest = [torch.zeros(shape) for shape in shapes] if down is None else down
        return [first, *(each.float() for each in rest)]


class OpenVinoDecoder:
    """A ``Decoder``."""

    def __init__(self, network: CompiledNetwork, shape: tuple[int, ...]) -> None:
        self._network = network
        self.shape = shape

    def __call__(self, latent: Tensor) -> Tensor:
        """As ``Decoder``."""
        return self._network([latent.float()])


class UNetSample:
    """A ``ControllableUNet``: a UNet by its module, whose first call is kept with its output."""

    def __init__(self, unet: UNet) -> None:
        self._unet = unet
        self._call: tuple[NetworkInput, Sequence[Tensor] | None, Tensor | None] | None = None
        self._output: Tensor | None = None

    def __call__(
        self,
        given: NetworkInput,
        down_residuals: Sequence[Tensor] | None = None,
        middle_residual: Tensor | None = None,
    ) -> Tensor:
        """As ``UNet.as_built``."""
        output = self._unet.as_built(given, down_residuals, middle_residual)
        if self._call is None:
            self._call, self._output = (given, down_residuals, middle_residual), output.clone()
        return output

    def psnr(self, other: OpenVinoUNet) -> float:
        """Another network's PSNR on the kept call, dB; -inf where no call was made."""
        if self._call is None or self._output is None:
            return float("-inf")
        with torch.inference_mode():
            return psnr(other(*self._call), self._output)


class DecoderSample:
    """A ``Decoder``: a VAE by its module, whose last call is kept with its output."""

    def __init__(self, vae: Vae, shape: tuple[int, ...]) -> None:
        self._vae = vae
        self._kept: tuple[Tensor, Tensor] | None = None
        self.shape = shape

    def __call__(self, latent: Tensor) -> Tensor:
        """As ``Vae.decode_by_module``."""
        output = self._vae.decode_by_module(latent)
        self._kept = latent, output.clone()
        return output

    @property
    def was_called(self) -> bool:
        """Whether a call was kept: another VAE may have decoded, or this one in tiles."""
        return self._kept is not None

    def psnr(self, other: OpenVinoDecoder) -> float:
        """Another decoder's PSNR on the kept call, dB; -inf where no call was made."""
        if self._kept is None:
            return float("-inf")
        latent, output = self._kept
        with torch.inference_mode():
            return psnr(other(latent), output)


def psnr(made: Tensor, expected: Tensor) -> float:
    """Peak signal-to-noise ratio in dB, the peak being the largest value that was expected.

    -inf for results that are not numbers or have another shape.
    """
    if made.shape != expected.shape or not torch.isfinite(made).all():
        return float("-inf")
    error = (made.double() - expected.double()).square().mean().sqrt()
    peak = expected.double().abs().max()
    return float(20.0 * torch.log10(peak / error)) if error > 0 else float("inf")


def compile_unet(
    runtime: Runtime,
    folder: Path,
    module: Any,
    shape: Shape,
    changed: Mapping[str, Tensor],
    precision: Precision,
) -> OpenVinoUNet:
    """The UNet of an IR folder, with ``changed`` weights (by name) in place of the folder's.

    Raises RuntimeError, and KeyError for a weight that the IR does not name.
    """
    model = runtime.read(folder / UNET)
    if changed:
        runtime.replace_constants(
            model, {_WEIGHTS + name: value for name, value in changed.items()}
        )
    middle, down = residual_shapes(module, shape.rows, shape.latent)
    config = module.config
    shapes: dict[str, Sequence[int]] = {
        "x": (shape.rows, config.in_channels, *shape.latent),
        "time": (shape.rows, module.time_embedding.linear_1.in_features),
        "context": (shape.rows, -1, config.cross_attention_dim),  # an open length costs nothing
        "added": (shape.rows, module.add_embedding.linear_1.in_features),
    }
    if shape.controlled:
        shapes["middle"] = middle
        shapes |= {f"down{number}": each for number, each in enumerate(down)}
    else:
        drop_inputs(model, first=len(shapes))
    return OpenVinoUNet(runtime.compile(model, shapes, precision), module, shape)


def compile_decoder(
    runtime: Runtime, folder: Path, shape: tuple[int, ...], precision: Precision
) -> OpenVinoDecoder:
    """The VAE's decoder of an IR folder. Raises RuntimeError."""
    model = runtime.read(folder / VAE)
    return OpenVinoDecoder(runtime.compile(model, {"latent": shape}, precision), shape)
