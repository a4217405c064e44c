"""A second network that finishes what the first began: when it takes over, and with what.

Knows no files: both networks are functions from a noisy latent to the guess of the clean one.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from pipeline.request.choices import SwapMethod
from pipeline.sampling.diffusion import (
    NetworkDenoise,
    Run,
    diffuse,
    picture_noise,
    start_latent,
    step_noise,
)
from pipeline.sampling.inpainting import Inpainting, MaskedDenoise
from pipeline.sampling.interface import Denoise, Noise, OnStep
from pipeline.sampling.parametrisation import ModelSampling
from pipeline.sampling.samplers import BROWNIAN_SAMPLERS, sampler_for
from pipeline.sampling.sigmas import make_sigmas, requested_sigmas

RENOISE: Final = 1.4  # how much louder than its schedule the second part of ``vae`` begins


@dataclass(frozen=True, slots=True)
class RefinerSwap:
    """Two networks of which the second takes over at step ``switch`` (from 0).

    ``joint`` changes the network inside one run, once it has been told the guess of that step.
    ``separate`` ends the run there and begins another one at its level, without new noise and
    without the first one's multistep history. ``vae`` has the first run end in a clean picture
    within ``switch`` steps, and the second begin from it, with noise of its own.

    With ``inpainting`` both paint under its mask only; the mask's noise begins anew with each run.
    ``bring`` is for a second network with another VAE, which ``vae`` alone can reach: it makes
    latents of that VAE out of the first one's, and the result is one of them.
    """

    base: NetworkDenoise
    refiner: NetworkDenoise
    switch: int
    method: SwapMethod
    inpainting: Inpainting | None = None
    bring: Callable[[Tensor], Tensor] | None = None

    def beyond(self) -> "RefinerSwap":
        """The same in the second network's latents."""
        if self.bring is None or self.inpainting is None:
            return self
        kept = replace(self.inpainting, latent=self.bring(self.inpainting.latent))
        return replace(self, inpainting=kept)

    def masked(self, network: NetworkDenoise, seed: int) -> NetworkDenoise:
        """The network as a run of that seed asks it."""
        if self.inpainting is None:
            return network
        return MaskedDenoise(network, network.model_sampling, self.inpainting, seed)


@torch.inference_mode()
def diffuse_with_refiner(
    swap: RefinerSwap,
    run: Run,
    shape: tuple[int, ...],
    on_step: OnStep,
    latent: Tensor | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """As ``diffuse``, by two networks that share a VAE. ``on_step`` counts on over both."""
    if swap.method == "joint":
        joint = _Joint(swap, on_step)
        asked = swap.masked(joint, run.seed)
        return diffuse(asked, run, shape, joint.on_step, latent, device)
    legs = _Legs(swap, run, shape, on_step, device)
    return legs.separate(latent) if swap.method == "separate" else legs.through_picture(latent)


class _Joint:
    """One function that asks the first network, then the second."""

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
        """Swap; what a sampler evaluates in the rest of the step is the second network's."""
        if index == self._swap.switch:
            self._current = self._swap.refiner
        self._on_step(index, denoised)


class _LastNoise:
    """Asks a network, and keeps of the noise that it saw last the mean over channels."""

    def __init__(self, network: NetworkDenoise) -> None:
        self.model_sampling = network.model_sampling
        self._denoise = network
        self.mean: Tensor | float = 0.0  # before the first asking

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        denoised = self._denoise(x, sigma)
        self.mean = ((x - denoised) / sigma).mean(dim=1, keepdim=True)
        return denoised


class _Legs:
    """Two runs of one picture; both walk its Brownian path, where the sampler has one."""

    def __init__(
        self,
        swap: RefinerSwap,
        run: Run,
        shape: tuple[int, ...],
        on_step: OnStep,
        device: torch.device | str,
    ) -> None:
        self._swap = swap
        self._run = run
        self._shape = shape
        self._on_step = on_step
        self._device = device
        self._noise = picture_noise(run, shape, device)
        self._between = step_noise(run, self._noise)

    def separate(self, latent: Tensor | None) -> Tensor:
        """The second run goes on at the level where the first one stopped."""
        swap, base, refiner = self._swap, self._swap.base, self._swap.refiner
        sigmas, switch = self._sigmas(), self._swap.switch
        x = start_latent(self._noise.initial, float(sigmas[0]), base.model_sampling, latent)
        seed = self._run.seed
        x = self._walk(swap.masked(base, seed), x, sigmas[: switch + 1], self._between)
        x = self._walk(swap.masked(refiner, seed), x, sigmas[switch:], self._between, done=switch)
        return base.model_sampling.from_model(x)

    def through_picture(self, latent: Tensor | None) -> Tensor:
        """The second run begins at the first one's picture, made noisy again."""
        base, refiner, switch = self._swap.base, self._swap.refiner, self._swap.switch
        sigmas = self._sigmas()[: switch + 1]
        sigmas[-1] = 0.0
        last = _LastNoise(base)
        if len(sigmas) > 1:
            x = start_latent(self._noise.initial, float(sigmas[0]), base.model_sampling, latent)
            x = self._walk(self._swap.masked(last, self._run.seed), x, sigmas, self._between)
            latent = base.model_sampling.from_model(x)
        if latent is not None and self._swap.bring is not None:
            latent = self._swap.bring(latent)
        return self._renoised(refiner, latent, last.mean)

    def _renoised(
        self, refiner: NetworkDenoise, latent: Tensor | None, mean: Tensor | float
    ) -> Tensor:
        """The rest of the schedule, louder; new noise takes the mean of what was left over."""
        run, sampling, switch = self._run, refiner.model_sampling, self._swap.switch
        asked = requested_sigmas(run.scheduler, run.sampler, run.steps, run.denoise, sampling)
        sigmas = asked[switch:] * RENOISE
        if latent is not None and len(sigmas) < 2:
            return latent
        noise = picture_noise(run, self._shape, self._device, seed=run.seed + 1)
        drawn = noise.initial - noise.initial.mean(dim=1, keepdim=True) + mean
        between = self._between if run.sampler in BROWNIAN_SAMPLERS else noise.fresh
        x = start_latent(drawn, float(sigmas[0]), sampling, latent)
        masked = self._swap.beyond().masked(refiner, run.seed + 1)
        x = self._walk(masked, x, sigmas, between, done=switch)
        return sampling.from_model(x)

    def _sigmas(self) -> Tensor:
        run, sampling = self._run, self._swap.base.model_sampling
        return make_sigmas(run.scheduler, run.sampler, run.steps, run.denoise, sampling)

    def _walk(
        self, denoise: Denoise, x: Tensor, sigmas: Tensor, between: Noise, done: int = 0
    ) -> Tensor:
        """``x`` at the last level; as it is where there is no step to make."""
        if len(sigmas) < 2:
            return x
        sampler = sampler_for(self._run.sampler, self._swap.base.model_sampling)

        def tell(index: int, denoised: Tensor) -> None:
            self._on_step(done + index, denoised)

        return sampler(denoise, x, sigmas, between, tell)
