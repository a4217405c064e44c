"""Orders of convergence: halve the steps, and the error falls by 2**order.

Data is normal with deviation ``DATA`` around ``MEAN``, for which the best guess of the clean latent
and the probability-flow ODE's solution are known. A wrong coefficient costs a sampler its order.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from pipeline.sampling.interface import Denoise
from pipeline.sampling.noise_levels import DiscreteLevels
from pipeline.sampling.samplers import BROWNIAN_SAMPLERS, sampler_for
from pipeline.sampling.samplers_dpm import _SingleStep

HIGH, LOW = 8.0, 0.2
DATA, MEAN = 2.0, 0.3
LEVELS = DiscreteLevels()
TINY = [2.0**-k for k in (14, *range(14, 0, -1))]
Schedule = Callable[[int], Tensor]


def guess(x: Tensor, sigma: Tensor) -> Tensor:
    return (DATA**2 * x + sigma**2 * MEAN) / (DATA**2 + sigma**2)


def solution(x: Tensor, sigma: Tensor, end: Tensor) -> Tensor:
    """Of the probability-flow ODE from ``sigma`` to ``end``."""
    return MEAN + (x - MEAN) * ((DATA**2 + end**2) / (DATA**2 + sigma**2)).sqrt()


def even(steps: int) -> Tensor:
    return torch.linspace(math.log(HIGH), math.log(LOW), steps + 1, dtype=torch.float64).exp()


def graded(steps: int) -> Tensor:
    """Steps that grow from tiny ones and shrink again, for samplers of lower order at the ends."""
    widths = torch.tensor([*TINY, *[1.0] * steps, *reversed(TINY)], dtype=torch.float64)
    place = torch.cat([torch.zeros(1, dtype=torch.float64), widths.cumsum(0)]) / widths.sum()
    return (math.log(HIGH) + place * (math.log(LOW) - math.log(HIGH))).exp()


def run(sampler: str, denoise: Denoise, sigmas: Tensor, x: Tensor, noise: object = None) -> Tensor:
    def silent(_sigma: Tensor, _sigma_next: Tensor) -> Tensor:
        return torch.zeros_like(x)

    between = noise if callable(noise) else silent
    return sampler_for(sampler, LEVELS)(denoise, x, sigmas, between, lambda _i, _d: None)


def ode_error(sampler: str, sigmas: Tensor) -> float:
    x = torch.tensor([2.0 * HIGH], dtype=torch.float64)
    made = run(sampler, guess, sigmas, x)
    return (made - solution(x, sigmas[0], sigmas[-1])).abs().item()


@pytest.mark.parametrize(
    ("sampler", "schedule", "order"),
    [
        ("euler", even, 1),
        ("ddim", even, 1),
        ("heun", even, 2),
        ("heunpp2", even, 1),  # its weights depend on the schedule
        ("dpm_2", even, 2),
        ("lms", graded, 4),
        ("dpmpp_2m", even, 2),
        ("uni_pc", graded, 4),  # order 3, and one more by the corrector
        ("uni_pc_bh2", graded, 4),
    ],
)
def test_a_sampler_without_noise_has_its_order(
    sampler: str, schedule: Schedule, order: int
) -> None:
    coarse, fine = (ode_error(sampler, schedule(steps)) for steps in (64, 128))
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.3)


def test_dpm_fast_has_order_3() -> None:
    """Of 35 and 71 evaluations, whose last step is of order 2, steps are a 12th and a 24th."""
    coarse, fine = (ode_error("dpm_fast", even(evaluations)) for evaluations in (35, 71))
    assert math.log2(coarse / fine) == pytest.approx(3, abs=0.3)


def test_dpm_adaptive_keeps_its_tolerance() -> None:
    assert ode_error("dpm_adaptive", even(1)) < 0.1  # relative 0.05 a step, of values about 2


@pytest.mark.parametrize(
    ("solve", "order"),
    [
        (_SingleStep.first, 1),
        (_SingleStep.second, 2),
        (lambda step: step.second(part=1 / 3), 2),
        (_SingleStep.third, 3),
    ],
)
def test_one_step_of_dpm_solver_has_its_order(
    solve: Callable[[_SingleStep], Tensor], order: int
) -> None:
    """A single step's error falls by one power more than a whole run's."""
    x, start = torch.tensor([2.0], dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)
    errors = []
    for length in (0.1, 0.05):
        made = solve(_SingleStep(guess, x, start, start + length))
        errors.append((made - solution(x, torch.ones(()), (-start - length).exp())).abs().item())
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order + 1, abs=0.3)


@pytest.mark.parametrize("sampler", ["uni_pc", "uni_pc_bh2"])
@pytest.mark.parametrize(("widths", "order"), [([1.0], 3), ([2.0**-10, 1.0], 4)])
def test_the_first_steps_of_unipc_have_their_orders(
    sampler: str, widths: list[float], order: int
) -> None:
    """They begin with a corrector of order 1, then a predictor of order 2. Tiny steps follow, for
    the last ones have no corrector."""
    errors = []
    for length in (0.1, 0.05):
        steps = torch.tensor([0.0, *widths, *TINY[:3]], dtype=torch.float64) * length
        errors.append(ode_error(sampler, (-steps.cumsum(0)).exp()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.3)


class Increments:
    """Noise as coefficients: rows of ``x`` are those of the start and of each independent draw, so
    that one run of a linear network gives the variance of its result."""

    def __init__(self, sigmas: Tensor, *, brownian: bool) -> None:
        middles = [(a * b).sqrt() for a, b in pairwise(sigmas)] if brownian else []
        self._nodes = torch.stack([*sigmas, *middles]).sort(descending=True).values
        self._brownian = brownian
        self._drawn = 0
        self.rows = 2 * len(self._nodes)

    def __call__(self, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        drawn = torch.zeros(self.rows, dtype=torch.float64)
        if self._brownian:
            first, last = (self._place(each) for each in (sigma, sigma_next))
            widths = -self._nodes[first : last + 1].diff()
            drawn[1 + first : 1 + last] = (widths / widths.sum()).sqrt()
        else:
            self._drawn += 1
            drawn[self._drawn] = 1.0
        return drawn

    def _place(self, sigma: Tensor) -> int:
        place = int((self._nodes - sigma).abs().argmin())
        torch.testing.assert_close(self._nodes[place], sigma)
        return place


def variance(sampler: str, sigmas: Tensor) -> float:
    """Of the result, in units of the true one at the last level."""
    noise = Increments(sigmas, brownian=sampler in BROWNIAN_SAMPLERS)
    x = torch.zeros(noise.rows, dtype=torch.float64)
    x[0] = (DATA**2 + sigmas[0] ** 2).sqrt()
    made = run(sampler, lambda x, sigma: guess(x, sigma) - guess(x * 0, sigma), sigmas, x, noise)
    return float((made**2).sum() / (DATA**2 + sigmas[-1] ** 2))


@pytest.mark.parametrize(
    ("sampler", "order"),
    [
        ("euler_ancestral", 1),
        ("ddpm", 1),
        ("dpm_2_ancestral", 2),
        ("dpmpp_2s_ancestral", 2),
        ("dpmpp_sde", 2),
        ("dpmpp_2m_sde", 2),
        ("dpmpp_3m_sde", 2),
    ],
)
def test_the_variance_of_a_sampler_with_noise_has_its_order(sampler: str, order: int) -> None:
    coarse, fine = (abs(variance(sampler, even(steps)) - 1.0) for steps in (64, 128))
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.3)


def test_ddpm_is_euler_ancestral_in_another_space() -> None:
    x, sigmas = torch.tensor([2.0 * HIGH], dtype=torch.float64), even(8)
    ancestral, ddpm = (
        run(name, guess, sigmas, x, lambda a, b: torch.cos(a + b)[None])
        for name in ("euler_ancestral", "ddpm")
    )
    torch.testing.assert_close(ddpm, ancestral, rtol=1e-9, atol=0)


def test_restart_ends_with_the_variance_of_the_data() -> None:
    sigmas = torch.linspace(math.log(HIGH), math.log(0.01), 69, dtype=torch.float64).exp()
    made = variance("restart", torch.cat([sigmas, sigmas.new_zeros(1)]))
    assert made == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(
    ("sampler", "order"), [("dpmpp_sde", 2), ("dpmpp_2m_sde", 2), ("dpmpp_3m_sde", 2)]
)
def test_the_drift_of_an_sde_sampler_has_its_order(sampler: str, order: int) -> None:
    """Without noise they solve dx/dlambda = 2 (guess - x), lambda = -ln sigma; on normal data
    exactly, so here the guess is sin(lambda).

    The third is of order 2 only, as in k-diffusion: see the next test.
    """

    def integral(lam: Tensor) -> Tensor:
        return 0.4 * (2.0 * lam).exp() * (2.0 * lam.sin() - lam.cos())

    def error(steps: int) -> float:
        sigmas = graded(steps)
        start, end = -sigmas[0].log(), -sigmas[-1].log()
        x = torch.tensor([2.0], dtype=torch.float64)
        made = run(sampler, lambda _x, sigma: (-sigma.log()).sin()[None], sigmas, x)
        exact = (2 * start).exp() * x + integral(end) - integral(start)
        return (made - exact * (-2 * end).exp()).abs().item()

    assert math.log2(error(64) / error(128)) == pytest.approx(order, abs=0.3)


def test_the_third_order_sde_sampler_takes_half_of_the_second_derivative() -> None:
    """For a guess of lambda**2 one step of three is off by just that."""
    lams = torch.tensor([0.0, 0.3, 0.5, 0.9], dtype=torch.float64)
    asked: list[Tensor] = []

    def square(x: Tensor, sigma: Tensor) -> Tensor:
        asked.append(x)
        return sigma.log()[None] ** 2

    x = torch.tensor([2.0], dtype=torch.float64)
    made = run("dpmpp_3m_sde", square, (-lams).exp(), x)
    start, h = lams[2], lams[3] - lams[2]
    width = 2.0 * h
    mean = 1.0 + torch.expm1(-width) / width  # of theta under 2 h exp(-2 h (1 - theta))
    half_square = 0.5 - mean / width  # half of the mean of theta**2
    guessed = -torch.expm1(-width) * start**2 + 2.0 * start * h * mean + h**2 * half_square
    torch.testing.assert_close(made, (-width).exp() * asked[2] + guessed)
