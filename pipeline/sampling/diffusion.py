"""One picture's run from noise to latent: schedule, noise, sampler, in the order it happens."""

from typing import Protocol

import msgspec
import torch
from torch import Tensor

from pipeline.sampling.interface import Noise, OnStep
from pipeline.sampling.noise import PictureNoise
from pipeline.sampling.parametrisation import ModelSampling
from pipeline.sampling.samplers import BROWNIAN_SAMPLERS, sampler_for
from pipeline.sampling.sigmas import brownian_range, make_sigmas

FULL_NOISE = 1e-5  # relative: how near to the largest level counts as starting from noise alone


class NetworkDenoise(Protocol):
    """A ``Denoise`` that tells what kind of network it asks, such as ``Denoiser``."""

    @property
    def model_sampling(self) -> ModelSampling:
        """The network's levels and spaces."""

    def __call__(self, x: Tensor, sigma: Tensor, /) -> Tensor:
        """The guess of the clean latent."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What to walk. ``denoise`` below 1 begins inside the schedule."""

    sampler: str
    scheduler: str
    steps: int
    seed: int
    denoise: float = 1.0
    cpu_noise: bool = (
        True  # draw step noise on the CPU, so that pictures do not depend on the device
    )


def start_latent(
    noise: Tensor, sigma: float, sampling: ModelSampling, latent: Tensor | None
) -> Tensor:
    """The noisy latent at ``sigma``, of an empty picture without ``latent``.

    At the top of the table the noise is made to dominate, whatever the picture.
    """
    full = sigma > sampling.sigma_max or abs(sampling.sigma_max - sigma) <= FULL_NOISE * sigma
    x = noise * ((1.0 + sigma**2) ** 0.5 if full else sigma)
    picture = torch.zeros_like(x) if latent is None else latent.to(x)
    return x + sampling.to_model(picture)


def picture_noise(
    run: Run, shape: tuple[int, ...], device: torch.device | str, seed: int | None = None
) -> PictureNoise:
    """The noise of the run's picture, or of another seed's."""
    drawn = run.seed if seed is None else seed
    return PictureNoise(drawn, shape, device, "cpu" if run.cpu_noise else device)


def step_noise(run: Run, noise: PictureNoise) -> Noise:
    """The noise that the run's sampler adds between steps."""
    if run.sampler not in BROWNIAN_SAMPLERS:
        return noise.fresh
    ends = brownian_range(run.scheduler, run.sampler, run.steps, run.denoise)
    return noise.brownian(*ends)


@torch.inference_mode()
def diffuse(
    denoiser: NetworkDenoise,
    run: Run,
    shape: tuple[int, ...],
    on_step: OnStep,
    latent: Tensor | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """The finished latent (1, 4, H/8, W/8) in the VAE's space, float32 on ``device``.

    ``latent`` is in the VAE's space. ``on_step`` gets each guess in the network's space.
    """
    sampling = denoiser.model_sampling
    noise = picture_noise(run, shape, device)
    sigmas = make_sigmas(run.scheduler, run.sampler, run.steps, run.denoise, sampling)
    x = start_latent(noise.initial, float(sigmas[0]), sampling, latent)
    sampler = sampler_for(run.sampler, sampling)
    x = sampler(denoiser, x, sigmas, step_noise(run, noise), on_step)
    return sampling.from_model(x)
