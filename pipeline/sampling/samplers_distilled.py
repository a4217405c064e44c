"""Samplers of the few-step networks, and the original DDPM."""

from itertools import pairwise
from typing import Final

from torch import Tensor

from pipeline.sampling.interface import Denoise, Noise, OnStep, Sampler, slope
from pipeline.sampling.noise_levels import NoiseLevels

TCD_ETA: Final = 0.3


def lcm(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, on_step: OnStep) -> Tensor:
    """Jump to the guess, then add fresh noise for the next level (arXiv:2310.04378)."""
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        x = denoise(x, sigma)
        on_step(i, x)
        if sigma_next > 0:
            x = x + sigma_next * noise(sigma, sigma_next)
    return x


def ddpm(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, on_step: OnStep) -> Tensor:
    """Ancestral steps of Ho et al. 2020 (arXiv:2006.11239), in their variance-preserving space."""
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        on_step(i, denoised)
        eps = slope(x, sigma, denoised)
        kept, kept_next = 1 / (sigma**2 + 1), 1 / (sigma_next**2 + 1)
        alpha = kept / kept_next
        scaled = x / (1 + sigma**2).sqrt()
        x = (scaled - (1 - alpha) * eps / (1 - kept).sqrt()) / alpha.sqrt()
        if sigma_next > 0:
            spread = ((1 - alpha) * (1 - kept_next) / (1 - kept)).sqrt()
            x = (x + spread * noise(sigma, sigma_next)) * (1 + sigma_next**2).sqrt()
    return x


def make_tcd(levels: NoiseLevels) -> Sampler:
    """Trajectory consistency (arXiv:2402.19159): past the next level, then back up with noise.

    How far past is counted in steps of training, which only ``levels`` knows.
    """

    def tcd(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, on_step: OnStep) -> Tensor:
        times = ((1 - TCD_ETA) * levels.training_step(sigmas)).floor().long()
        times[-1] = 0
        kept = levels.alphas_bar[times]
        for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
            denoised = denoise(x, sigma)
            on_step(i, denoised)
            eps = slope(x, sigma, denoised)
            landing = kept[i + 1]
            x = landing.sqrt() * denoised + (1 - landing).sqrt() * eps
            if sigma_next > 0:
                rise = (sigma_next**2 + 1 - 1 / landing).clamp(min=0).sqrt()  # rounding
                x = x / landing.sqrt() + noise(sigma, sigma_next) * rise
        return x

    return tcd
