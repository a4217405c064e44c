"""Euler, Heun and Adams steps along the probability-flow ODE (arXiv:2206.00364)."""

from itertools import pairwise
from typing import Final

from torch import Tensor

from pipeline.sampling.interface import Denoise, Noise, OnStep, ancestral_split, slope
from pipeline.sampling.sigmas import karras

LMS_ORDER: Final = 4
RESTART_FROM_STEPS: Final = 20
RESTART_TWICE_FROM_STEPS: Final = 36
RESTART_LOW: Final = 0.1
RESTART_HIGH: Final = 2.0


def euler(denoise: Denoise, x: Tensor, sigmas: Tensor, _noise: Noise, on_step: OnStep) -> Tensor:
    """First order; with a DDIM schedule this is DDIM without noise."""
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        on_step(i, denoised)
        x = x + slope(x, sigma, denoised) * (sigma_next - sigma)
    return x


def euler_ancestral(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, on_step: OnStep
) -> Tensor:
    """Euler steps with fresh noise between them."""
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        on_step(i, denoised)
        down, up = ancestral_split(sigma, sigma_next)
        x = x + slope(x, sigma, denoised) * (down - sigma)
        if sigma_next > 0:
            x = x + noise(sigma, sigma_next) * up
    return x


def _heun_step(
    denoise: Denoise, x: Tensor, denoised: Tensor, sigma: Tensor, sigma_next: Tensor
) -> Tensor:
    """One step from an evaluated ``x``: the mean of the slopes at both ends; Euler's down to 0."""
    step = sigma_next - sigma
    first = slope(x, sigma, denoised)
    ahead = x + first * step
    if sigma_next == 0:
        return ahead
    second = slope(ahead, sigma_next, denoise(ahead, sigma_next))
    return x + (first + second) / 2 * step


def heun(denoise: Denoise, x: Tensor, sigmas: Tensor, _noise: Noise, on_step: OnStep) -> Tensor:
    """Second order, two evaluations a step."""
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        on_step(i, denoised)
        x = _heun_step(denoise, x, denoised, sigma, sigma_next)
    return x


def heunpp2(denoise: Denoise, x: Tensor, sigmas: Tensor, _noise: Noise, on_step: OnStep) -> Tensor:
    """Heun with up to two looks ahead, each weighted by its noise level."""
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        on_step(i, denoised)
        slopes, weights = [slope(x, sigma, denoised)], []
        probe, at = x, sigma
        ahead = [level for level in sigmas[i + 1 : i + 3] if level > 0]
        for level in ahead:
            probe = probe + slopes[-1] * (level - at)
            slopes.append(slope(probe, level, denoise(probe, level)))
            weights.append(level / ((len(ahead) + 1) * sigmas[0]))
            at = level
        mixed = slopes[0] * (1 - sum(weights))
        for weight, later in zip(weights, slopes[1:], strict=True):
            mixed = mixed + weight * later
        x = x + mixed * (sigma_next - sigma)
    return x


def lms(denoise: Denoise, x: Tensor, sigmas: Tensor, _noise: Noise, on_step: OnStep) -> Tensor:
    """Linear multistep (Adams-Bashforth) of order up to 4 on the uneven schedule."""
    levels = sigmas.double().tolist()
    slopes: list[Tensor] = []  # newest first
    for i, sigma in enumerate(sigmas[:-1]):
        denoised = denoise(x, sigma)
        on_step(i, denoised)
        slopes = [slope(x, sigma, denoised), *slopes][:LMS_ORDER]
        known = levels[i::-1][: len(slopes)]
        weights = [_lagrange_integral(known, j, levels[i + 1]) for j in range(len(known))]
        x = x + sum(weight * each for weight, each in zip(weights, slopes, strict=True))
    return x


def _lagrange_integral(nodes: list[float], j: int, end: float) -> float:
    """The integral from nodes[0] to ``end`` of the j-th Lagrange polynomial on ``nodes``.

    Two Gauss points are exact up to degree 3, which is the most that order 4 has.
    """
    middle, half = (nodes[0] + end) / 2, (end - nodes[0]) / 2
    total = 0.0
    for point in (middle - half / 3**0.5, middle + half / 3**0.5):
        value = 1.0
        for k, node in enumerate(nodes):
            if k != j:
                value *= (point - node) / (nodes[j] - node)
        total += value
    return total * half


def restart(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, on_step: OnStep) -> Tensor:
    """Heun that climbs back up near the end (arXiv:2306.14878); plain Heun below 20 steps."""
    legs = _restart_legs(sigmas)
    done, reached = 0, sigmas[0]
    for leg in legs:
        if leg[0] > reached:
            x = x + noise(leg[0], reached) * (leg[0] ** 2 - reached**2) ** 0.5
        for sigma, sigma_next in pairwise(leg):
            denoised = denoise(x, sigma)
            on_step(done, denoised)
            x = _heun_step(denoise, x, denoised, sigma, sigma_next)
            done += 1
        reached = leg[-1]
    return x


def _restart_legs(sigmas: Tensor) -> list[Tensor]:
    """Descending pieces, walked in order; one that begins above the last one's end needs noise.

    A schedule that begins below the climb's top has no place for it and is walked plain.
    """
    steps = len(sigmas) - 1
    if steps < RESTART_FROM_STEPS:
        return [sigmas]
    twice = steps >= RESTART_TWICE_FROM_STEPS
    length, times = (steps // 4, 2) if twice else (9, 1)
    main = karras(steps - length * times, sigmas[-2].item(), sigmas[0].item())
    low = int((main - RESTART_LOW).abs().argmin())
    high = int((main - RESTART_HIGH).abs().argmin())
    if high >= low:
        return [main]
    climb = karras(length + 1, main[low].item(), main[high].item())[:-1]
    return [main[: low + 1], *([climb] * times), main[low:]]
