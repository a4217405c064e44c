"""Latent format: a VAE's latents, and how the network scales them."""

from typing import Annotated, Final

import msgspec
import torch
from msgspec import Meta
from torch import Tensor

from pipeline.request.sizes import LATENT_FACTOR

Row = tuple[float, float, float]
PerChannel = float | tuple[float, ...]


class LatentRgb(msgspec.Struct, frozen=True):
    """A linear preview: RGB (0...1) = latent * ``weight`` + ``bias``, in the network's space.

    The default is SDXL's by T. A. Vass, published in diffusers' documentation ("Pipeline
    callbacks").
    """

    weight: Annotated[tuple[Row, ...], Meta(min_length=1)] = (
        (60 / 255, 60 / 255, 60 / 255),
        (-60 / 255, -5 / 255, 10 / 255),
        (25 / 255, 15 / 255, -5 / 255),
        (-70 / 255, -50 / 255, -35 / 255),
    )
    bias: Row = (150 / 255, 140 / 255, 130 / 255)


class LatentFormat(msgspec.Struct, frozen=True, kw_only=True):
    """Geometry and scaling of latents (B, ``channels``, H / ``factor``, W / ``factor``).

    A network's latent is (VAE's latent - ``shift``) * ``scale``; both may differ by channel. The
    defaults are SDXL's.
    """

    channels: int = 4
    factor: int = LATENT_FACTOR  # pixels a cell, each way
    scale: PerChannel = 0.13025
    shift: PerChannel = 0.0
    rgb: LatentRgb = LatentRgb()

    def shape(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Shape of one image's latent; sides in pixels."""
        return 1, self.channels, height // self.factor, width // self.factor

    def to_model(self, latent: Tensor) -> Tensor:
        """From the VAE's space to the network's."""
        return (latent - _channels(self.shift, latent)) * _channels(self.scale, latent)

    def to_vae(self, x: Tensor) -> Tensor:
        """From the network's space to the VAE's."""
        return x / _channels(self.scale, x) + _channels(self.shift, x)


# Published with Playground v2.5: mean and deviation of its VAE's latents, which its network sees
# at a deviation of 0.5.
_PLAYGROUND_STD: Final = (8.4927, 5.9022, 6.5498, 5.2299)
PLAYGROUND: Final = LatentFormat(
    shift=(-1.6574, 1.886, -1.383, 2.5155), scale=tuple(0.5 / std for std in _PLAYGROUND_STD)
)


def _channels(values: PerChannel, like: Tensor) -> Tensor | float:
    if isinstance(values, float):
        return values
    return torch.tensor(values, dtype=like.dtype, device=like.device).view(1, -1, 1, 1)
