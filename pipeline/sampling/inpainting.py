"""Inpainting in latents: outside the mask the latent is kept, at every noise level."""

from collections.abc import Iterator, Sequence
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
    """``latent`` (1, C, h, w) in the VAE's space; ``mask`` (1, 1, h, w) is 1 where to paint."""

    latent: Tensor
    mask: Tensor


class MaskedDenoise:
    """A ``NetworkDenoise`` confined to the mask: elsewhere the kept latent goes in, at the level's
    noise, and comes out clean.

    Draws noise at each call, on the CPU, so each run needs an object of its own. ``seeds`` are
    those of the run's images; a single number is that of its only one.
    """

    def __init__(
        self,
        denoise: Denoise,
        model_sampling: ModelSampling,
        inpainting: Inpainting,
        seeds: int | Sequence[int],
    ) -> None:
        self.model_sampling = model_sampling
        self._denoise = denoise
        self._kept = model_sampling.latents.to_model(inpainting.latent)
        self._mask = inpainting.mask
        # Another seed than the image's: the same noise again would leave a trace.
        each = (seeds,) if isinstance(seeds, int) else seeds
        self._generators = [seeded_generator((seed + 1) % _SEEDS) for seed in each]

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The guess at noise level ``sigma`` (0-d, CPU); outside the mask the kept latent."""
        kept, mask = self._kept.to(x), self._mask.to(x)
        shape = (1, *x.shape[1:])
        drawn = [torch.randn(shape, generator=each) for each in self._generators]
        noise = torch.cat(drawn).to(x)
        seen = x * mask + (kept + noise * sigma) * (1.0 - mask)
        return self._denoise(seen, sigma) * mask + kept * (1.0 - mask)


@contextmanager
def inputs_added(unet: "UNet2DConditionModel", mask: Tensor, masked: Tensor) -> Iterator[None]:
    """Within the block an inpainting UNet is given its other inputs behind the latent, as in
    diffusers: the mask (1, 1, h, w), then the masked image's latent (1, C, h, w) in model scale."""

    def with_inputs(_module: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor]:
        (x,) = given
        more = torch.cat([mask.to(x), masked.to(x)], dim=1).expand(x.shape[0], -1, -1, -1)
        return (torch.cat([x, more], dim=1),)

    handle = unet.conv_in.register_forward_pre_hook(with_inputs)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def feature_added(unet: "UNet2DConditionModel", feature: Tensor | None) -> Iterator[None]:
    """Within the block a diffusers UNet adds ``feature`` (1, C, h, w) to its first layer's output,
    which the skip connections carry too. None adds nothing."""
    if feature is None:
        yield
        return
    handle = unet.conv_in.register_forward_hook(_Addition(feature))
    try:
        yield
    finally:
        handle.remove()


class _Addition:
    """Forward hook of the first layer."""

    def __init__(self, feature: Tensor) -> None:
        self._feature = feature

    def __call__(self, _module: nn.Module, _args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + self._feature.to(output)
