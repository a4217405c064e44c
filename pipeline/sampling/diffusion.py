"""A run from noise to latent: initial latent, step noise, sampler."""

from typing import Protocol

import torch
from torch import Tensor

from pipeline.request.sampling import SamplingSettings
from pipeline.sampling.interface import Noise, OnStep
from pipeline.sampling.noise import RunNoise
from pipeline.sampling.parametrisation import ModelSampling
from pipeline.sampling.samplers import BROWNIAN_SAMPLERS, sampler_for
from pipeline.sampling.sigmas import brownian_range

FULL_NOISE = 1e-5  # relative: how near to the largest level counts as starting from noise alone


class NetworkDenoise(Protocol):
    """A ``Denoise`` that says how its network is sampled, such as ``Denoiser``."""

    @property
    def model_sampling(self) -> ModelSampling:
        """The network's parametrisation and latent format."""

    def __call__(self, x: Tensor, sigma: Tensor, /) -> Tensor:
        """The guess of the clean latent."""


def start_latent(
    noise: Tensor, sigma: float, sampling: ModelSampling, latent: Tensor | None
) -> Tensor:
    """The noisy latent at ``sigma`` of ``latent`` in the VAE's space; None is an empty image.

    At the largest level the variance of the data is added to the noise, as in the reference.
    """
    largest = sampling.levels.sigma_max
    full = sigma > largest or abs(largest - sigma) <= FULL_NOISE * sigma
    x = noise * ((1.0 + sigma**2) ** 0.5 if full else sigma)
    image = torch.zeros_like(x) if latent is None else latent.to(x)
    return x + sampling.latents.to_model(image)


def step_noise(settings: SamplingSettings, sampling: ModelSampling, noise: RunNoise) -> Noise:
    """The noise that the sampler adds between steps."""
    if settings.sampler not in BROWNIAN_SAMPLERS:
        return noise.fresh
    return noise.brownian(*brownian_range(settings, sampling.parametrisation.trained))


@torch.inference_mode()
def sample(
    denoise: NetworkDenoise,
    settings: SamplingSettings,
    sigmas: Tensor,
    noise: RunNoise,
    on_step: OnStep,
    latent: Tensor | None = None,
) -> Tensor:
    """The finished latents (B, C, h, w) in the VAE's space, float32 on the noise's device.

    ``sigmas`` is the schedule of ``settings`` (``make_sigmas``). The run starts from ``latent``, in
    the VAE's space, of B rows or one for all. ``on_step`` gets each guess of the clean latents in
    the network's space.
    """
    sampling = denoise.model_sampling
    x = start_latent(noise.initial, float(sigmas[0]), sampling, latent)
    sampler = sampler_for(settings.sampler, sampling.levels)
    x = sampler(denoise, x, sigmas, step_noise(settings, sampling, noise), on_step)
    return sampling.latents.to_vae(x)
