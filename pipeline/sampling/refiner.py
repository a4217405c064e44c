"""Refiner swap: a second network that continues what the first one began.

Both networks are functions from a noisy latent and its level to the guess of the clean latent.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from pipeline.request.choices import SwapMethod
from pipeline.request.sampling import SamplingSettings
from pipeline.sampling.diffusion import NetworkDenoise, sample, start_latent, step_noise
from pipeline.sampling.inpainting import Inpainting, MaskedDenoise
from pipeline.sampling.interface import Denoise, Noise, OnStep
from pipeline.sampling.noise import RunNoise
from pipeline.sampling.parametrisation import ModelSampling
from pipeline.sampling.samplers import BROWNIAN_SAMPLERS, sampler_for
from pipeline.sampling.sigmas import make_sigmas, requested_sigmas

RENOISE: Final = 1.4  # factor of the levels of the second part of ``vae``


@dataclass(frozen=True, slots=True)
class RefinerSwap:
    """Two networks of which ``refiner`` takes over at step ``switch`` (from 0).

    ``joint`` swaps the network inside one run, after the guess of that step. ``separate`` ends the
    run there and starts a second one at its level, without new noise and without the first one's
    multistep history. ``vae`` lets the first run reach a clean latent within ``switch`` steps; the
    second starts from it with noise of its own.

    With ``inpainting`` both sample under its mask only; its noise restarts with each run.
    ``convert`` is for a refiner with another latent space, which only ``vae`` can reach: it maps a
    latent of the first network's VAE to the refiner's, in whose space the result is.
    """

    base: NetworkDenoise
    refiner: NetworkDenoise
    switch: int
    method: SwapMethod
    inpainting: Inpainting | None = None
    convert: Callable[[Tensor], Tensor] | None = None

    def in_refiner_latents(self) -> "RefinerSwap":
        """The same with the inpainted latent in the refiner's space."""
        if self.convert is None or self.inpainting is None:
            return self
        converted = replace(self.inpainting, latent=self.convert(self.inpainting.latent))
        return replace(self, inpainting=converted)

    def masked(self, network: NetworkDenoise, seeds: Sequence[int]) -> NetworkDenoise:
        """``network``, confined to the mask where there is one, for a run of those seeds."""
        if self.inpainting is None:
            return network
        return MaskedDenoise(network, network.model_sampling, self.inpainting, seeds)


@torch.inference_mode()
def sample_with_refiner(
    swap: RefinerSwap,
    settings: SamplingSettings,
    noise: RunNoise,
    on_step: OnStep,
    latent: Tensor | None = None,
) -> Tensor:
    """As ``sample``, by two networks. ``on_step`` counts on over both."""
    if swap.method == "joint":
        joint = _Joint(swap, on_step)
        masked = swap.masked(joint, noise.seeds)
        sigmas = make_sigmas(settings, joint.model_sampling.levels)
        return sample(masked, settings, sigmas, noise, joint.on_step, latent)
    runs = _TwoRuns(swap, settings, noise, on_step)
    return runs.separate(latent) if swap.method == "separate" else runs.through_clean(latent)


class _Joint:
    """One denoiser that calls the base, then the refiner."""

    def __init__(self, swap: RefinerSwap, on_step: OnStep) -> None:
        self._swap = swap
        self._current = swap.base
        self._on_step = on_step

    @property
    def model_sampling(self) -> ModelSampling:
        return self._swap.base.model_sampling

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self._current(x, sigma)

    def on_step(self, index: int, denoised: Tensor) -> None:
        """Swap. Further evaluations within the same step are the refiner's already."""
        if index == self._swap.switch:
            self._current = self._swap.refiner
        self._on_step(index, denoised)


class _LastNoise:
    """A denoiser that keeps the mean over channels of the noise in its last input."""

    def __init__(self, network: NetworkDenoise) -> None:
        self.model_sampling = network.model_sampling
        self._denoise = network
        self.mean: Tensor | float = 0.0  # before the first call

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        denoised = self._denoise(x, sigma)
        self.mean = ((x - denoised) / sigma).mean(dim=1, keepdim=True)
        return denoised


class _TwoRuns:
    """Two runs of the same images along one Brownian path each, where the sampler uses one."""

    def __init__(
        self,
        swap: RefinerSwap,
        settings: SamplingSettings,
        noise: RunNoise,
        on_step: OnStep,
    ) -> None:
        self._swap = swap
        self._settings = settings
        self._on_step = on_step
        self._noise = noise
        self._step_noise = step_noise(settings, swap.base.model_sampling, noise)

    def separate(self, latent: Tensor | None) -> Tensor:
        """The second run continues at the level where the first one stopped."""
        swap, base = self._swap, self._swap.base
        sigmas, switch, seeds = self._sigmas(), swap.switch, self._noise.seeds
        x = start_latent(self._noise.initial, float(sigmas[0]), base.model_sampling, latent)
        x = self._run(swap.masked(base, seeds), x, sigmas[: switch + 1], self._step_noise)
        x = self._run(
            swap.masked(swap.refiner, seeds), x, sigmas[switch:], self._step_noise, done=switch
        )
        return base.model_sampling.latents.to_vae(x)

    def through_clean(self, latent: Tensor | None) -> Tensor:
        """The second run starts from the first one's clean latent, noised again."""
        swap, base = self._swap, self._swap.base
        sigmas = self._sigmas()[: swap.switch + 1]
        sigmas[-1] = 0.0
        last = _LastNoise(base)
        if len(sigmas) > 1:
            x = start_latent(self._noise.initial, float(sigmas[0]), base.model_sampling, latent)
            x = self._run(swap.masked(last, self._noise.seeds), x, sigmas, self._step_noise)
            latent = base.model_sampling.latents.to_vae(x)
        if latent is not None and swap.convert is not None:
            latent = swap.convert(latent)
        return self._renoised(swap.refiner, latent, last.mean)

    def _renoised(
        self, refiner: NetworkDenoise, latent: Tensor | None, mean: Tensor | float
    ) -> Tensor:
        """The rest of the schedule at higher levels; the new noise gets the mean of the old."""
        settings, sampling, switch = self._settings, refiner.model_sampling, self._swap.switch
        sigmas = requested_sigmas(settings, sampling.levels)[switch:] * RENOISE
        if latent is not None and len(sigmas) < 2:
            return latent
        noise = self._noise.reseeded([seed + 1 for seed in self._noise.seeds])
        initial = noise.initial - noise.initial.mean(dim=1, keepdim=True) + mean
        between = self._step_noise if settings.sampler in BROWNIAN_SAMPLERS else noise.fresh
        x = start_latent(initial, float(sigmas[0]), sampling, latent)
        masked = self._swap.in_refiner_latents().masked(refiner, noise.seeds)
        x = self._run(masked, x, sigmas, between, done=switch)
        return sampling.latents.to_vae(x)

    def _sigmas(self) -> Tensor:
        return make_sigmas(self._settings, self._swap.base.model_sampling.levels)

    def _run(
        self, denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, done: int = 0
    ) -> Tensor:
        """``x`` at the last level; unchanged where there is no step."""
        if len(sigmas) < 2:
            return x
        sampler = sampler_for(self._settings.sampler, self._swap.base.model_sampling.levels)

        def on_step(index: int, denoised: Tensor) -> None:
            self._on_step(done + index, denoised)

        return sampler(denoise, x, sigmas, noise, on_step)
