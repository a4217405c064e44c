"""Schedules: the noise levels of a run, by scheduler name."""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from pipeline.errors import InvalidParameter
from pipeline.request.sampling import SamplingSettings
from pipeline.sampling.noise_levels import MAX_T, NoiseLevels

# Align Your Steps (arXiv:2404.14507): the ten-step schedule its authors publish for SDXL.
ALIGNED_SDXL: Final = (
    14.6146412293,
    6.3184485287,
    3.7681790315,
    2.1811480769,
    1.3405244945,
    0.8620721141,
    0.5550693289,
    0.3798540708,
    0.2332364134,
    0.1114188177,
    0.0291671582,
)
KARRAS_RHO: Final = 7.0
TURBO_STRIDE: Final = 100
WHOLE_DENOISE: Final = 0.9999  # from here on a run starts at the schedule's beginning

# These evaluate near the end of every step, so the level before the last is left out.
DROP_IN_RUN: Final = frozenset({"dpm_2", "dpm_2_ancestral", "uni_pc", "uni_pc_bh2"})
DROP_IN_RANGE: Final = frozenset({"dpm_2", "dpm_2_ancestral"})


def _with_zero(sigmas: Tensor) -> Tensor:
    return torch.cat([sigmas, sigmas.new_zeros(1)])


def karras(count: int, sigma_min: float, sigma_max: float) -> Tensor:
    """``count`` levels even in sigma**(1/7), then 0 (arXiv:2206.00364, equation 5)."""
    low, high = sigma_min ** (1 / KARRAS_RHO), sigma_max ** (1 / KARRAS_RHO)
    return _with_zero((high + torch.linspace(0, 1, count) * (low - high)) ** KARRAS_RHO)


def _karras(levels: NoiseLevels, count: int) -> Tensor:
    return karras(count, levels.sigma_min, levels.sigma_max)


def _exponential(levels: NoiseLevels, count: int) -> Tensor:
    low, high = levels.log_table[0].item(), levels.log_table[-1].item()
    return _with_zero(torch.linspace(high, low, count).exp())


def _ends_in_time(levels: NoiseLevels) -> tuple[float, float]:
    ends = levels.timestep(levels.table[[-1, 0]])
    return ends[0].item(), ends[1].item()


def _normal(levels: NoiseLevels, count: int) -> Tensor:
    return _with_zero(levels.sigma(torch.linspace(*_ends_in_time(levels), count)))


def _sgm_uniform(levels: NoiseLevels, count: int) -> Tensor:
    return _with_zero(levels.sigma(torch.linspace(*_ends_in_time(levels), count + 1)[:-1]))


def _simple(levels: NoiseLevels, count: int) -> Tensor:
    entries = len(levels.table)
    return _with_zero(levels.table[[-(1 + int(i * entries / count)) for i in range(count)]])


def _ddim_uniform(levels: NoiseLevels, count: int) -> Tensor:
    stride = max(len(levels.table) // count, 1)
    return _with_zero(levels.table[1::stride].flip(0))


def _turbo(levels: NoiseLevels, count: int) -> Tensor:
    return _with_zero(levels.at_training_step(torch.arange(MAX_T, 0, -TURBO_STRIDE)[:count]))


def _align_your_steps(_levels: NoiseLevels, count: int) -> Tensor:
    known = torch.tensor(ALIGNED_SDXL, dtype=torch.float64).log()
    position = torch.linspace(0, len(known) - 1, count + 1, dtype=torch.float64)
    low = position.floor().long().clamp(max=len(known) - 2)
    sigmas = torch.lerp(known[low], known[low + 1], position - low).exp().float()
    return _with_zero(sigmas[:-1])


Schedule = Callable[[NoiseLevels, int], Tensor]

SCHEDULES: Final[dict[str, Schedule]] = {
    "normal": _normal,
    "karras": _karras,
    "exponential": _exponential,
    "sgm_uniform": _sgm_uniform,
    "simple": _simple,
    "ddim_uniform": _ddim_uniform,
    "lcm": _sgm_uniform,
    "turbo": _turbo,
    "align_your_steps": _align_your_steps,
    "tcd": _sgm_uniform,
    "edm_playground_v2.5": _karras,
}


def make_sigmas(settings: SamplingSettings, levels: NoiseLevels) -> Tensor:
    """The levels of a run: at most ``steps`` + 1, descending to 0. Raises InvalidParameter."""
    sigmas = schedule_sigmas(settings, levels)[: settings.steps + 1].clone()
    sigmas[-1] = 0.0
    return sigmas


def schedule_sigmas(settings: SamplingSettings, levels: NoiseLevels) -> Tensor:
    """The schedule as its formula gives it: ``ddim_uniform`` may be longer than ``steps`` + 1."""
    return _schedule(settings, levels, drop=settings.sampler in DROP_IN_RUN)


def requested_sigmas(settings: SamplingSettings, levels: NoiseLevels) -> Tensor:
    """The schedule that sets the Brownian range: ``uni_pc`` keeps its penultimate level here."""
    return _schedule(settings, levels, drop=settings.sampler in DROP_IN_RANGE)


def brownian_range(settings: SamplingSettings, levels: NoiseLevels) -> tuple[float, float]:
    """(smallest, largest) level between which the Brownian path of a run is drawn."""
    sigmas = requested_sigmas(settings, levels)
    return float(sigmas[sigmas > 0].min()), float(sigmas.max())


def _schedule(settings: SamplingSettings, levels: NoiseLevels, *, drop: bool) -> Tensor:
    """The schedule for ``steps``; below a whole denoise, the end of a longer one."""
    if settings.scheduler not in SCHEDULES:
        known = ", ".join(SCHEDULES)
        raise InvalidParameter(("scheduler_name",), f"unknown scheduler; there are: {known}")
    steps, denoise = settings.steps, settings.denoise
    whole = denoise > WHOLE_DENOISE
    count = (steps if whole else int(steps / denoise)) + int(drop)
    sigmas = SCHEDULES[settings.scheduler](levels, count)
    if drop:
        sigmas = torch.cat([sigmas[:-2], sigmas[-1:]])
    return sigmas if whole else sigmas[-(steps + 1) :]
