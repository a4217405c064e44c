"""Denoising of a part of a latent: the rest is kept as it is, at every noise level.

Knows no pictures and no files: a latent, and a mask of what is painted anew.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn

from pipeline.sampling.interface import Denoise
from pipeline.sampling.noise import seeded_generator
from pipeline.sampling.parametrisation import ModelSampling

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

_SEEDS: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Inpainting:
    """``latent`` (1, 4, h, w) in the VAE's space; ``mask`` (1, 1, h, w) is 1 where to paint."""

    latent: Tensor
    mask: Tensor


class MaskedDenoise:
    """A denoiser that sees what is kept, noisy as its level wants, and guesses it right.

    Draws noise of its own at each asking, on the CPU, so one object makes one run. Satisfies
    ``NetworkDenoise``.
    """

    def __init__(
        self, denoise: Denoise, model_sampling: ModelSampling, inpainting: Inpainting, seed: int
    ) -> None:
        self.model_sampling = model_sampling
        self._denoise = denoise
        self._kept = model_sampling.to_model(inpainting.latent)
        self._mask = inpainting.mask
        # Not the picture's own seed: the same noise again would give itself away.
        self._generator = seeded_generator((seed + 1) % _SEEDS)

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The guess at noise level ``sigma`` (0-d, CPU); outside of the mask what is kept."""
        kept, mask = self._kept.to(x), self._mask.to(x)
        noise = torch.randn(x.shape, generator=self._generator).to(x)
        seen = x * mask + (kept + noise * sigma) * (1.0 - mask)
        return self._denoise(seen, sigma) * mask + kept * (1.0 - mask)


@contextmanager
def feature_added(unet: "UNet2DConditionModel", feature: Tensor | None) -> Iterator[None]:
    """Inside the block a diffusers UNet adds ``feature`` (1, C, h, w) to its first layer's output.

    Skip connections carry the sum. None adds nothing; nothing of it stays behind.
    """
    if feature is None:
        yield
        return
    handle = unet.conv_in.register_forward_hook(_Addition(feature))
    try:
        yield
    finally:
        handle.remove()


class _Addition:
    """What happens behind the first layer."""

    def __init__(self, feature: Tensor) -> None:
        self._feature = feature

    def __call__(self, _module: nn.Module, _args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + self._feature.to(output)
