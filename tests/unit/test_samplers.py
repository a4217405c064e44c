"""Samplers on a model whose answer is known: data that is a unit normal, or one point."""

import pytest
import torch
from torch import Tensor

from pipeline.errors import InvalidParameter, TaskAborted
from pipeline.request.choices import SAMPLER_NAMES
from pipeline.request.sampling import SamplingSettings
from pipeline.sampling.interface import ancestral_split
from pipeline.sampling.latent_format import LatentFormat
from pipeline.sampling.noise_levels import (
    ContinuousLevels,
    DiscreteLevels,
    FlowLevels,
    alphas_bar_of_betas,
    scaled_linear_betas,
    zero_terminal_snr,
)
from pipeline.sampling.parametrisation import (
    EdmPrediction,
    FlowPrediction,
    ModelSampling,
    VPrediction,
)
from pipeline.sampling.samplers import sampler_for
from pipeline.sampling.sigmas import SCHEDULES, make_sigmas
from tests.unit.sampling_runs import SHAPE, run

LEVELS = DiscreteLevels()
# These give the schedule only its ends, and stop at its last level above 0.
STOP_ABOVE_ZERO = frozenset({"dpm_fast", "dpm_adaptive"})
LEAVES_NOISE = STOP_ABOVE_ZERO | {"tcd"}
STOCHASTIC = frozenset(
    {"euler_ancestral", "dpm_2_ancestral", "dpmpp_2s_ancestral", "ddpm", "lcm", "tcd"}
) | {name for name in SAMPLER_NAMES if "_sde" in name}


ZERO_SNR = DiscreteLevels(zero_terminal_snr(alphas_bar_of_betas(scaled_linear_betas())))
OTHERS = {
    "v, zero SNR": VPrediction(ZERO_SNR),
    "EDM": EdmPrediction(ContinuousLevels(0.002, 80.0)),
    "flow": FlowPrediction(FlowLevels(3.0)),
}


class NormalData:
    """The exact guess for unit-normal data."""

    model_sampling = ModelSampling()

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        return x / (1 + sigma**2)


class OnePoint:
    """The exact guess where every picture is the same."""

    model_sampling = ModelSampling()
    picture = torch.linspace(-1, 1, 256).view(SHAPE)

    def __call__(self, _x: Tensor, _sigma: Tensor) -> Tensor:
        return self.picture


def make_run(sampler: str, steps: int = 20, seed: int = 1) -> SamplingSettings:
    return SamplingSettings(sampler=sampler, scheduler="karras", steps=steps, seed=seed)


def ignore(_index: int, _denoised: Tensor) -> None:
    """No callback."""


@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
def test_every_sampler_finds_the_only_picture_there_is(sampler: str) -> None:
    made = run(OnePoint(), make_run(sampler), ignore)
    expected = LatentFormat().to_vae(OnePoint.picture)
    tolerance = 0.5 if sampler in LEAVES_NOISE else 0.02
    assert (made - expected).abs().max() < tolerance * expected.abs().max()


@pytest.mark.parametrize("sampler", sorted(set(SAMPLER_NAMES) - STOCHASTIC))
def test_every_sampler_without_noise_follows_the_flow_of_normal_data(sampler: str) -> None:
    sigmas = make_sigmas(make_run(sampler, 40), LEVELS)
    start = torch.ones(SHAPE) * (1 + sigmas[0] ** 2).sqrt()

    def no_noise(_sigma: Tensor, _sigma_next: Tensor) -> Tensor:
        return torch.zeros(SHAPE)

    made = sampler_for(sampler, LEVELS)(NormalData(), start, sigmas, no_noise, ignore)
    if sampler == "restart":  # it climbs without noise here, which is no flow
        assert made.isfinite().all()
        return
    tolerance = 0.12 if sampler in {"euler", "ddim", "heunpp2"} else 0.03
    torch.testing.assert_close(made, torch.ones(SHAPE), rtol=0, atol=tolerance)


@pytest.mark.parametrize("scheduler", SCHEDULES)
@pytest.mark.parametrize("kind", OTHERS)
def test_every_sampler_and_schedule_work_on_levels_of_other_networks(
    kind: str, scheduler: str
) -> None:
    class OtherPoint(OnePoint):
        model_sampling = ModelSampling(OTHERS[kind]).under(scheduler)

    expected = OtherPoint.model_sampling.latents.to_vae(OnePoint.picture)
    for sampler in SAMPLER_NAMES:
        settings = SamplingSettings(sampler=sampler, scheduler=scheduler, steps=6, seed=1)
        made = run(OtherPoint(), settings, ignore)
        if sampler in LEAVES_NOISE:
            assert made.isfinite().all(), sampler
            continue
        assert (made - expected).abs().max() < 0.02 * expected.abs().max(), sampler


@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_few_steps_are_finite_too(sampler: str, steps: int) -> None:
    made = run(NormalData(), make_run(sampler, steps), ignore)
    assert made.isfinite().all()


@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
def test_equal_seeds_are_equal_and_other_seeds_are_not(sampler: str) -> None:
    made = [run(NormalData(), make_run(sampler, 4, seed), ignore) for seed in (1, 1, 2)]
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


@pytest.mark.parametrize("sampler", sorted(set(SAMPLER_NAMES) - STOP_ABOVE_ZERO))
def test_every_step_is_reported_once(sampler: str) -> None:
    heard: list[int] = []
    run(NormalData(), make_run(sampler, 40), lambda index, _: heard.append(index))
    assert heard == list(range(40))


def test_a_callback_may_end_a_run() -> None:
    def stop(_index: int, _denoised: Tensor) -> None:
        raise TaskAborted("stopped")

    with pytest.raises(TaskAborted):
        run(NormalData(), make_run("euler"), stop)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_an_ancestral_split_keeps_the_variance(eta: float) -> None:
    sigma, sigma_next = torch.tensor(3.0), torch.tensor(2.0)
    down, up = ancestral_split(sigma, sigma_next, eta)
    torch.testing.assert_close(down**2 + up**2, sigma_next**2)


def test_an_unknown_sampler_is_refused_by_name() -> None:
    with pytest.raises(InvalidParameter, match="there are: euler, ") as refused:
        sampler_for("slow", LEVELS)
    assert refused.value.field == ("sampler_name",)


def test_a_small_denoise_stays_near_the_picture_given() -> None:
    latent = torch.full(SHAPE, 5.0)
    small = SamplingSettings(sampler="euler", scheduler="karras", steps=10, seed=1, denoise=0.1)
    near = run(NormalData(), small, ignore, latent)
    far = run(NormalData(), make_run("euler", 10), ignore, latent)
    assert (near - latent).abs().mean() < (far - latent).abs().mean()


@pytest.mark.parametrize("sampler", sorted(set(SAMPLER_NAMES) - {"dpm_adaptive"}))
def test_no_sampler_waits_for_the_device(sampler: str) -> None:
    """Tensors on the meta device have no values, so reading one there raises."""
    sigmas = make_sigmas(make_run(sampler, 24), LEVELS)
    start = torch.empty(SHAPE, device="meta")

    def noise(_sigma: Tensor, _sigma_next: Tensor) -> Tensor:
        return torch.empty(SHAPE, device="meta")

    made = sampler_for(sampler, LEVELS)(NormalData(), start, sigmas, noise, ignore)
    assert made.device.type == "meta"
    assert made.shape == SHAPE
