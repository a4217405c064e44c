"""Schedules, noise levels and noise."""

import pytest
import torch
from torch import Tensor

from pipeline.errors import InvalidParameter
from pipeline.request.choices import SAMPLER_NAMES
from pipeline.request.sampling import SamplingSettings
from pipeline.sampling.noise import ImageNoise, seeded_generator
from pipeline.sampling.noise_levels import DiscreteLevels
from pipeline.sampling.parametrisation import ModelSampling
from pipeline.sampling.samplers import sampler_for
from pipeline.sampling.sigmas import DROP_IN_RUN, SCHEDULES, make_sigmas

SHAPE = (1, 4, 8, 8)


def sigmas_of(scheduler: str, sampler: str, steps: int, denoise: float = 1.0) -> Tensor:
    settings = SamplingSettings(sampler=sampler, scheduler=scheduler, steps=steps, denoise=denoise)
    return make_sigmas(settings, ModelSampling().under(scheduler).levels)


@pytest.mark.parametrize("scheduler", SCHEDULES)
@pytest.mark.parametrize("sampler", ["euler", "dpm_2", "uni_pc"])
@pytest.mark.parametrize("steps", [1, 2, 7, 30])
def test_every_schedule_falls_to_zero_in_at_most_the_steps_asked(
    scheduler: str, sampler: str, steps: int
) -> None:
    sigmas = sigmas_of(scheduler, sampler, steps)
    assert 2 <= len(sigmas) <= steps + 1
    assert (sigmas.diff() < 0).all()
    assert sigmas[-1] == 0
    assert sigmas.dtype == torch.float32


@pytest.mark.parametrize("scheduler", ["karras", "normal", "exponential", "simple", "sgm_uniform"])
def test_a_partial_denoise_walks_the_end_of_a_longer_schedule(scheduler: str) -> None:
    whole, half = sigmas_of(scheduler, "euler", 20), sigmas_of(scheduler, "euler", 10, 0.5)
    torch.testing.assert_close(half, whole[-11:])


def test_some_samplers_leave_the_level_before_the_last_out() -> None:
    longer = sigmas_of("karras", "euler", 11)
    for sampler in DROP_IN_RUN:
        sigmas = sigmas_of("karras", sampler, 10)
        torch.testing.assert_close(sigmas, torch.cat([longer[:-2], longer[-1:]]))


def test_an_unknown_scheduler_is_refused_by_name() -> None:
    with pytest.raises(InvalidParameter, match="there are: normal, karras") as refused:
        sigmas_of("sharp", "euler", 10)
    assert refused.value.field == ("scheduler_name",)


def test_there_are_as_many_samplers_and_schedulers_as_requests_may_name() -> None:
    assert len(SAMPLER_NAMES) == len(set(SAMPLER_NAMES)) == 24
    assert all(callable(sampler_for(name, ModelSampling().levels)) for name in SAMPLER_NAMES)
    assert len(SCHEDULES) == 11


def test_times_are_rounded_to_the_levels_of_training() -> None:
    levels = DiscreteLevels()
    between = (levels.table[500] * levels.table[501]).sqrt() * 1.0001
    assert levels.timestep(between) == 501
    assert levels.timestep(torch.tensor(1e-6)) == 0
    assert levels.timestep(torch.tensor(1e6)) == 999


@pytest.mark.parametrize("scheduler", ["karras", "lcm", "tcd"])
def test_level_and_time_are_inverse_at_the_levels_kept(scheduler: str) -> None:
    levels = ModelSampling().under(scheduler).levels
    torch.testing.assert_close(levels.sigma(levels.timestep(levels.table)), levels.table)


@pytest.mark.parametrize("scheduler", ["karras", "edm_playground_v2.5"])
def test_a_latent_survives_the_way_to_the_network_and_back(scheduler: str) -> None:
    latents = ModelSampling().under(scheduler).latents
    latent = torch.randn(SHAPE, generator=seeded_generator(1))
    back = latents.to_vae(latents.to_model(latent))
    torch.testing.assert_close(back, latent)


@pytest.mark.parametrize("scheduler", ["karras", "edm_playground_v2.5", "tcd"])
def test_the_way_from_noise_to_picture_begins_at_the_top_and_ends_at_zero(scheduler: str) -> None:
    levels = ModelSampling().under(scheduler).levels
    sigmas = [levels.sigma_at(part / 10) for part in range(11)]
    assert sigmas == sorted(sigmas, reverse=True)
    assert sigmas[0] > levels.sigma_max > sigmas[1]
    assert sigmas[10] == 0


@pytest.mark.parametrize("seed", [0, 12345, 2**63 - 1])
def test_noise_is_that_of_the_global_generator_without_touching_it(seed: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        expected = [torch.randn(SHAPE) for _ in range(3)]
        state = torch.get_rng_state()
        noise, here = ImageNoise(seed, SHAPE, "cpu", "cpu"), torch.zeros(())
        drawn = [noise.initial, noise.fresh(here, here), noise.fresh(here, here)]
        assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(drawn, expected, strict=True))


def test_a_brownian_path_is_one_path_however_it_is_walked() -> None:
    path = ImageNoise(3, SHAPE, "cpu", "cpu").brownian(0.1, 10.0)
    high, middle, low = torch.tensor(9.0), torch.tensor(4.0), torch.tensor(1.0)
    halves = path(high, middle) * (high - middle).sqrt() + path(middle, low) * (middle - low).sqrt()
    torch.testing.assert_close(path(high, low) * (high - low).sqrt(), halves)


def test_a_brownian_path_has_the_noise_of_its_ends_beyond_them() -> None:
    path = ImageNoise(3, SHAPE, "cpu", "cpu").brownian(0.1, 10.0)
    beyond, end, low = torch.tensor(12.0), torch.tensor(10.0), torch.tensor(1.0)
    torch.testing.assert_close(
        path(beyond, low) * (beyond - low).sqrt(), path(end, low) * (end - low).sqrt()
    )
