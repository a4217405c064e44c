"""UniPC (arXiv:2302.04867): a predictor and a corrector that share one evaluation a step.

Works in the variance-preserving space, where x_vp = x / sqrt(1 + sigma**2), on the clean guess.
"""

from typing import Final, NamedTuple

import torch
from torch import Tensor

from pipeline.sampling.interface import Denoise, Noise, OnStep

MAX_ORDER: Final = 3
LAST_SIGMA: Final = 0.001  # stands for the 0 at a schedule's end, where lambda is infinite


class _Point(NamedTuple):
    """A noise level with the guess made there."""

    level: "_Level"
    denoised: Tensor


class _Level:
    """A noise level in UniPC's terms; each number is 0-d float32 on the CPU."""

    def __init__(self, sigma: Tensor) -> None:
        log_alpha = 0.5 * (1 / (sigma * sigma + 1)).log()
        spread = 1.0 - (2.0 * log_alpha).exp()
        self.sigma = sigma
        self.alpha = log_alpha.exp()
        self.std = spread.sqrt()
        self.lam = log_alpha - 0.5 * spread.log()


class _Weights(NamedTuple):
    """How much of what goes into one step; ``gain`` scales the mixed differences."""

    stay: Tensor
    aim: Tensor
    gain: Tensor
    predictor: list[float]
    corrector: list[float]
    distances: list[Tensor]


def uni_pc(denoise: Denoise, x: Tensor, sigmas: Tensor, _noise: Noise, on_step: OnStep) -> Tensor:
    """B(h) = h."""
    return _solve(denoise, x, sigmas, on_step, bh2=False)


def uni_pc_bh2(
    denoise: Denoise, x: Tensor, sigmas: Tensor, _noise: Noise, on_step: OnStep
) -> Tensor:
    """B(h) = e**h - 1."""
    return _solve(denoise, x, sigmas, on_step, bh2=True)


def _solve(denoise: Denoise, x: Tensor, sigmas: Tensor, on_step: OnStep, *, bh2: bool) -> Tensor:
    walked = sigmas.clone()
    if walked[-1] == 0:
        walked[-1] = LAST_SIGMA
    levels = [_Level(sigma) for sigma in walked]
    steps = len(levels) - 1
    max_order = max(min(MAX_ORDER, steps - 1), 1)

    def guess(x_vp: Tensor, level: _Level) -> Tensor:
        return denoise(x_vp * (level.sigma**2 + 1.0) ** 0.5, level.sigma)

    x = x / (levels[0].sigma ** 2 + 1.0) ** 0.5
    past = [_Point(levels[0], guess(x, levels[0]))]  # newest first
    on_step(0, past[0].denoised)
    for k in range(1, steps + 1):
        order = min(k, max_order, steps + 1 - k)
        weights = _weigh([point.level for point in past[:order]], levels[k], bh2=bh2)
        base = weights.stay * x - weights.aim * past[0].denoised
        changes = _changes(past[:order], weights.distances)
        x = base - weights.gain * _mix(weights.predictor, changes)
        if k == steps:
            break
        denoised = guess(x, levels[k])
        changes = [*changes, denoised - past[0].denoised]
        x = base - weights.gain * _mix(weights.corrector, changes)
        past = [_Point(levels[k], denoised), *past][:MAX_ORDER]
        on_step(k, denoised)
    return x / levels[-1].alpha


def _changes(past: list[_Point], distances: list[Tensor]) -> list[Tensor]:
    """Divided differences of the earlier guesses from the newest one."""
    return [
        (point.denoised - past[0].denoised) / distance
        for point, distance in zip(past[1:], distances, strict=True)
    ]


def _mix(weights: list[float], tensors: list[Tensor]) -> Tensor:
    mixed = torch.zeros(())
    for weight, tensor in zip(weights, tensors, strict=True):
        mixed = weight * tensor if mixed.ndim == 0 else mixed + weight * tensor
    return mixed


def _weigh(past: list[_Level], end: _Level, *, bh2: bool) -> _Weights:
    """The weights of a step from past[0] to ``end`` of order len(past) (the paper's appendix E)."""
    order = len(past)
    h = end.lam - past[0].lam
    distances = [(level.lam - past[0].lam) / h for level in past[1:]]
    phi_1 = torch.expm1(-h)
    scale = phi_1 if bh2 else -h
    nodes = torch.stack([*distances, torch.ones_like(h)])
    rows, targets = [], []
    phi, factorial = phi_1 / -h - 1, 1
    for i in range(1, order + 1):
        rows.append(nodes ** (i - 1))
        targets.append(phi * factorial / scale)
        factorial *= i + 1
        phi = phi / -h - 1 / factorial
    matrix, target = torch.stack(rows), torch.stack(targets)
    predictor = [0.5] if order == 2 else _shares(matrix[:-1, :-1], target[:-1])
    corrector = [0.5] if order == 1 else _shares(matrix, target)
    return _Weights(
        stay=end.std / past[0].std,
        aim=end.alpha * phi_1,
        gain=end.alpha * scale,
        predictor=predictor,
        corrector=corrector,
        distances=distances,
    )


def _shares(matrix: Tensor, target: Tensor) -> list[float]:
    if not target.numel():
        return []
    shares: list[float] = torch.linalg.solve(matrix, target).tolist()
    return shares
