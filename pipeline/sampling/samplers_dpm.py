"""DPM-Solver's first generation (arXiv:2206.00927): midpoint steps, and the single-step solvers.

``lambda`` is -ln sigma. Noise predictions are (x - denoised) / sigma.
"""

import math
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor

from pipeline.sampling.interface import Denoise, Noise, OnStep, ancestral_split, slope

RELATIVE_TOLERANCE: Final = 0.05
ABSOLUTE_TOLERANCE: Final = 0.0078
FIRST_STEP: Final = 0.05
ACCEPT_FROM: Final = 0.81
ADAPTIVE_ORDER: Final = 3
CLOSE_TO_END: Final = 1e-5


def _midpoint_step(
    denoise: Denoise, x: Tensor, denoised: Tensor, sigma: Tensor, sigma_next: Tensor
) -> Tensor:
    """One step by the slope at the geometric mean of both levels; Euler's down to 0."""
    first = slope(x, sigma, denoised)
    if sigma_next == 0:
        return x + first * (sigma_next - sigma)
    middle = sigma.log().lerp(sigma_next.log(), 0.5).exp()
    probe = x + first * (middle - sigma)
    return x + slope(probe, middle, denoise(probe, middle)) * (sigma_next - sigma)


def dpm_2(denoise: Denoise, x: Tensor, sigmas: Tensor, _noise: Noise, on_step: OnStep) -> Tensor:
    """Second order, two evaluations a step."""
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        on_step(i, denoised)
        x = _midpoint_step(denoise, x, denoised, sigma, sigma_next)
    return x


def dpm_2_ancestral(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: Noise, on_step: OnStep
) -> Tensor:
    """``dpm_2`` with fresh noise between the steps."""
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        on_step(i, denoised)
        down, up = ancestral_split(sigma, sigma_next)
        x = _midpoint_step(denoise, x, denoised, sigma, down)
        if sigma_next > 0:
            x = x + noise(sigma, sigma_next) * up
    return x


class _SingleStep:
    """Solutions of order 1 to 3 over one interval of lambda, from one starting point.

    Keeps the evaluations made inside the interval, so that two orders may share them.
    """

    def __init__(self, denoise: Denoise, x: Tensor, start: Tensor, end: Tensor) -> None:
        self._denoise = denoise
        self._x, self._start, self._end = x, start, end
        self._h = end - start
        self._inner: dict[float, Tensor] = {}
        sigma = _sigma(start)
        self.eps = slope(x, sigma, denoise(x, sigma))
        self.denoised = x - sigma * self.eps

    def _eps_at(self, part: float, x: Tensor) -> Tensor:
        """The noise prediction ``part`` of the way along, evaluated once."""
        if part not in self._inner:
            sigma = _sigma(self._start + part * self._h)
            self._inner[part] = slope(x, sigma, self._denoise(x, sigma))
        return self._inner[part]

    def _linear(self, part: float) -> Tensor:
        """The first-order solution ``part`` of the way along."""
        lam = self._end if part == 1.0 else self._start + part * self._h
        return self._x - _sigma(lam) * (part * self._h).expm1() * self.eps

    def first(self) -> Tensor:
        """Order 1: DDIM."""
        return self._linear(1.0)

    def second(self, part: float = 1 / 2) -> Tensor:
        """Order 2, with an evaluation ``part`` of the way along."""
        change = self._eps_at(part, self._linear(part)) - self.eps
        return self._linear(1.0) - _sigma(self._end) / (2 * part) * self._h.expm1() * change

    def third(self) -> Tensor:
        """Order 3, with evaluations at one and two thirds of the way."""
        near, far = 1 / 3, 2 / 3
        change = self._eps_at(near, self._linear(near)) - self.eps
        h, h_far = self._h, far * self._h
        bend = _sigma(self._start + h_far) * (far / near) * (h_far.expm1() / h_far - 1)
        change = self._eps_at(far, self._linear(far) - bend * change) - self.eps
        return self._linear(1.0) - _sigma(self._end) / far * (h.expm1() / h - 1) * change


def _sigma(lam: Tensor) -> Tensor:
    return lam.neg().exp()


def _lambda_ends(sigmas: Tensor) -> tuple[Tensor, Tensor]:
    """The run's ends in lambda; these solvers stop at the last level above 0."""
    last = sigmas[-2] if sigmas[-1] == 0 else sigmas[-1]
    return sigmas[0].log().neg(), last.log().neg()


def dpm_fast(denoise: Denoise, x: Tensor, sigmas: Tensor, _noise: Noise, on_step: OnStep) -> Tensor:
    """Steps of order 3, even in lambda, with as many evaluations as the schedule has steps."""
    evaluations = len(sigmas) - 1
    start, end = _lambda_ends(sigmas)
    intervals = evaluations // 3 + 1
    rest = evaluations % 3
    orders = [3] * (intervals - 1) + [rest] if rest else [3] * (intervals - 2) + [2, 1]
    lambdas = torch.linspace(float(start), float(end), intervals + 1)
    for i, (order, (lam, lam_next)) in enumerate(zip(orders, pairwise(lambdas), strict=True)):
        step = _SingleStep(denoise, x, lam, lam_next)
        on_step(i, step.denoised)
        x = (step.first, step.second, step.third)[order - 1]()
    return x


def dpm_adaptive(
    denoise: Denoise, x: Tensor, sigmas: Tensor, _noise: Noise, on_step: OnStep
) -> Tensor:
    """Order 3, each step as long as its difference from order 2 allows; takes only the ends."""
    lam, end = _lambda_ends(sigmas)
    length, tries, before = FIRST_STEP, 0, x
    while lam < end - CLOSE_TO_END:
        lam_next = (lam + length).minimum(end)
        step = _SingleStep(denoise, x, lam, lam_next)
        low, high = step.second(part=1 / 3), step.third()
        factor = _length_factor(_scaled_error(low, high, before))
        rejected = factor < ACCEPT_FROM
        if not rejected:  # so is a NaN, which ends the run
            before, x, lam = low, high, lam_next
        length *= factor
        on_step(tries, step.denoised)
        tries += 1
    return x


def _scaled_error(low: Tensor, high: Tensor, before: Tensor) -> float:
    """How far two solutions are apart, in units of what is tolerated."""
    allowed = (RELATIVE_TOLERANCE * low.abs().maximum(before.abs())).clamp(min=ABSOLUTE_TOLERANCE)
    return float(torch.linalg.vector_norm((low - high) / allowed)) / math.sqrt(low.numel())


def _length_factor(error: float) -> float:
    """How much longer the next step may be: an integral controller, softly limited."""
    wanted = math.pow(1 / (error + 1e-8), 1 / ADAPTIVE_ORDER)
    return 1.0 + math.atan(wanted - 1.0)
