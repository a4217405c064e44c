"""DPM-Solver++ (arXiv:2211.01095): exponential integrators on the clean guess, some with SDE noise.

``lambda`` is -ln sigma; sigma(0) is infinite in it, which the formulas survive.
"""

from itertools import pairwise
from typing import Final

from torch import Tensor

from pipeline.sampling.interface import Denoise, Noise, OnStep, ancestral_split, slope

MIDPOINT: Final = 1 / 2


def _lambda(sigma: Tensor) -> Tensor:
    return sigma.log().neg()


def _sigma(lam: Tensor) -> Tensor:
    return lam.neg().exp()


def _towards(x: Tensor, denoised: Tensor, lam: Tensor, lam_next: Tensor) -> Tensor:
    """The exact step if the guess stayed ``denoised`` between the two levels."""
    return (_sigma(lam_next) / _sigma(lam)) * x - (lam - lam_next).expm1() * denoised


def dpmpp_2s_ancestral(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, on_step: OnStep
) -> Tensor:
    """Second order with an evaluation halfway, and fresh noise between the steps."""
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        on_step(i, denoised)
        down, up = ancestral_split(sigma, sigma_next)
        if down == 0:
            x = x + slope(x, sigma, denoised) * (down - sigma)
        else:
            lam, lam_down = _lambda(sigma), _lambda(down)
            lam_mid = lam + MIDPOINT * (lam_down - lam)
            probe = _towards(x, denoised, lam, lam_mid)
            x = _towards(x, denoise(probe, _sigma(lam_mid)), lam, lam_down)
        if sigma_next > 0:
            x = x + noise(sigma, sigma_next) * up
    return x


def dpmpp_sde(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, on_step: OnStep) -> Tensor:
    """Two evaluations a step, both half steps along one Brownian path."""
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        on_step(i, denoised)
        if sigma_next == 0:
            x = x + slope(x, sigma, denoised) * (sigma_next - sigma)
            continue
        lam, lam_next = _lambda(sigma), _lambda(sigma_next)
        lam_mid = lam + (lam_next - lam) * MIDPOINT
        probe = _noisy_step(x, denoised, lam, lam_mid, noise)
        later = denoise(probe, _sigma(lam_mid))
        share = 1 / (2 * MIDPOINT)
        x = _noisy_step(x, (1 - share) * denoised + share * later, lam, lam_next, noise)
    return x


def _noisy_step(x: Tensor, denoised: Tensor, lam: Tensor, lam_next: Tensor, noise: Noise) -> Tensor:
    """Step further down than ``lam_next`` and come back up to it with noise."""
    sigma, sigma_next = _sigma(lam), _sigma(lam_next)
    down, up = ancestral_split(sigma, sigma_next)
    return _towards(x, denoised, lam, _lambda(down)) + noise(sigma, sigma_next) * up


def dpmpp_2m(denoise: Denoise, x: Tensor, sigmas: Tensor, _noise: Noise, on_step: OnStep) -> Tensor:
    """Second order from the last two guesses, one evaluation a step."""
    previous: Tensor | None = None
    h_previous = sigmas[0]
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        on_step(i, denoised)
        lam, lam_next = _lambda(sigma), _lambda(sigma_next)
        h = lam_next - lam
        aim = denoised
        if previous is not None and sigma_next > 0:
            weight = 1 / (2 * (h_previous / h))
            aim = (1 + weight) * denoised - weight * previous
        x = _towards(x, aim, lam, lam_next)
        previous, h_previous = denoised, h
    return x


def dpmpp_2m_sde(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, on_step: OnStep
) -> Tensor:
    """``dpmpp_2m`` for the SDE with eta 1, midpoint form."""
    previous: Tensor | None = None
    h_previous = sigmas[0]
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        on_step(i, denoised)
        if sigma_next == 0:
            x = denoised
            continue
        h = _lambda(sigma_next) - _lambda(sigma)
        gain = (-2 * h).expm1().neg()
        x = sigma_next / sigma * (-h).exp() * x + gain * denoised
        if previous is not None:
            x = x + 0.5 * gain * (h / h_previous) * (denoised - previous)
        x = x + noise(sigma, sigma_next) * sigma_next * gain.sqrt()
        previous, h_previous = denoised, h
    return x


def dpmpp_3m_sde(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, on_step: OnStep
) -> Tensor:
    """Third order from the last three guesses, for the SDE with eta 1."""
    guesses: list[Tensor] = []  # newest first, the current one included
    widths: list[Tensor] = []
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        on_step(i, denoised)
        if sigma_next == 0:
            x = denoised
            continue
        h = _lambda(sigma_next) - _lambda(sigma)
        h_eta = 2 * h
        guesses, widths = [denoised, *guesses][:3], [h, *widths][:3]
        x = (-h_eta).exp() * x + (-h_eta).expm1().neg() * denoised
        x = x + _curvature(guesses, widths, h_eta)
        x = x + noise(sigma, sigma_next) * sigma_next * (-h_eta).expm1().neg().sqrt()
    return x


def _curvature(guesses: list[Tensor], widths: list[Tensor], h_eta: Tensor) -> Tensor:
    """What the earlier guesses say of the guess's first and second derivative over the step."""
    phi_2 = (-h_eta).expm1() / h_eta + 1
    if len(guesses) == 1:
        return guesses[0].new_zeros(())
    near = widths[1] / widths[0]
    first = (guesses[0] - guesses[1]) / near
    if len(guesses) == 2:
        return phi_2 * first
    far = widths[2] / widths[0]
    second = first - (guesses[1] - guesses[2]) / far
    phi_3 = phi_2 / h_eta - 0.5
    return phi_2 * (first + second * near / (near + far)) - phi_3 * second / (near + far)
