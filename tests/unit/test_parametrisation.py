"""What networks predict, on data whose clean latent and noise are known."""

import pytest
import torch
from diffusers.schedulers.scheduling_euler_discrete import rescale_zero_terminal_snr
from torch import Tensor

from pipeline.models.model_sampling import (
    latent_format,
    parametrisation_of,
    sampling_note,
    sampling_of_file,
)
from pipeline.sampling.latent_format import PLAYGROUND, LatentFormat
from pipeline.sampling.noise_levels import (
    ContinuousLevels,
    DiscreteLevels,
    DistilledLevels,
    FlowLevels,
    alphas_bar_of_betas,
    scaled_linear_betas,
    zero_terminal_snr,
)
from pipeline.sampling.parametrisation import (
    EdmPrediction,
    FlowPrediction,
    LatentConsistency,
    ModelSampling,
    NoisePrediction,
    Parametrisation,
    VPrediction,
)

SHAPE = (1, 4, 8, 8)
KINDS = {
    "noise": NoisePrediction(DiscreteLevels()),
    "v": VPrediction(DiscreteLevels()),
    "edm": EdmPrediction(ContinuousLevels(0.002, 120.0)),
    "edm v": EdmPrediction(ContinuousLevels(0.002, 120.0), data_std=1.0, v=True),
    "lcm": LatentConsistency(DistilledLevels()),
    "flow": FlowPrediction(FlowLevels(3.0)),
}
VAE = {"latent_channels": 4, "block_out_channels": [1, 2, 3, 4], "scaling_factor": 0.13025}
MARK = torch.zeros(())


def normal(seed: int) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def ideal_output(kind: str, sigma: Tensor, clean: Tensor, noise: Tensor) -> Tensor:
    """What a perfect network of that kind would answer, from its paper's definition."""
    if kind == "noise":
        return noise
    if kind == "v":  # alpha * noise - sigma_vp * x0
        alpha = (1 + sigma**2) ** -0.5
        return alpha * noise - sigma * alpha * clean
    if kind == "flow":
        return noise - clean
    raise AssertionError(kind)


@pytest.mark.parametrize("kind", ["noise", "v", "flow"])
@pytest.mark.parametrize("sigma", [0.05, 1.0, 12.0, 200.0])
def test_a_perfect_network_gives_the_clean_latent(kind: str, sigma: float) -> None:
    level, clean, noise = torch.tensor(sigma), normal(1), normal(2)
    output = ideal_output(kind, level, clean, noise)
    guess = KINDS[kind].denoised(clean + level * noise, output, level)
    torch.testing.assert_close(guess, clean, rtol=0, atol=1e-4 * max(1.0, sigma / 10))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sigma", [0.5, 5.0])
def test_an_output_and_its_guess_are_inverse(kind: str, sigma: float) -> None:
    level, x, output = torch.tensor(sigma), 5 * normal(1), normal(2)
    guess = KINDS[kind].denoised(x, output, level)
    torch.testing.assert_close(KINDS[kind].output(x, guess, level), output, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["noise", "v", "edm v"])
@pytest.mark.parametrize("sigma", [0.05, 5.0, 100.0])
def test_a_network_sees_unit_variance(kind: str, sigma: float) -> None:
    level = torch.tensor(sigma)
    x = (normal(1) + level * normal(2)) / (1 + level**2) ** 0.5  # of unit-normal data
    seen = KINDS[kind].model_input(x * (1 + level**2) ** 0.5, level)
    torch.testing.assert_close(seen, x)


def test_a_flow_starts_from_noise_alone() -> None:
    flow, noise = KINDS["flow"], normal(1)
    top = torch.tensor(flow.levels.sigma_max)
    torch.testing.assert_close(flow.model_input(noise * top, top), noise)
    assert flow.levels.timestep(top) == 1000
    assert flow.levels.progress(top) == 0


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_levels_of_a_flow_are_shifted_times(shift: float) -> None:
    s = torch.tensor([0.001, 0.25, 0.5, 0.75])
    t = shift * s / (1 + (shift - 1) * s)
    levels = FlowLevels(shift)
    torch.testing.assert_close(levels.table[[0, 249, 499, 749]], t / (1 - t))
    torch.testing.assert_close(levels.timestep(t / (1 - t)), 1000 * t)


def test_betas_are_rescaled_to_zero_terminal_snr_as_diffusers_does() -> None:
    betas = scaled_linear_betas()
    theirs = torch.cumprod(1.0 - rescale_zero_terminal_snr(betas), 0)
    ours = zero_terminal_snr(alphas_bar_of_betas(betas))
    torch.testing.assert_close(ours[:-1], theirs[:-1], rtol=1e-9, atol=0)
    assert (theirs[-1].item(), ours[-1].item()) == (0, 2**-24)
    assert DiscreteLevels(ours).sigma_max == pytest.approx(4096, rel=1e-3)
    assert DiscreteLevels(ours).has_zero_snr
    assert not DiscreteLevels().has_zero_snr


@pytest.mark.parametrize(
    ("config", "kind", "sigma_max"),
    [
        ({}, NoisePrediction, 14.6146),
        ({"prediction_type": "v_prediction"}, VPrediction, 14.6146),
        ({"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}, VPrediction, 4096),
        ({"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}, NoisePrediction, 157.4),
        ({"_class_name": "LCMScheduler"}, LatentConsistency, 14.6146),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}, FlowPrediction, 4096),
        ({"prediction_type": "flow_prediction", "flow_shift": 2.0}, FlowPrediction, 4096),
        ({"_class_name": "EDMEulerScheduler", "sigma_max": 80.0}, EdmPrediction, 80),
    ],
)
def test_a_scheduler_s_configuration_says_what_a_network_predicts(
    config: dict[str, object], kind: type[Parametrisation], sigma_max: float
) -> None:
    parametrisation = parametrisation_of(config)
    assert type(parametrisation) is kind
    assert parametrisation.levels.sigma_max == pytest.approx(sigma_max, rel=1e-3)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"prediction_type": "sample"}, "the network predicts 'sample'"),
        ({"beta_schedule": "squaredcos_cap_v2"}, "beta schedule 'squaredcos_cap_v2'"),
        ({"num_train_timesteps": 4000}, "4000 steps of training"),
    ],
)
def test_an_unknown_configuration_is_refused_by_name(config: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parametrisation_of(config)


@pytest.mark.parametrize(
    ("markers", "kind", "note"),
    [
        ({}, NoisePrediction, ""),
        ({"v_pred": MARK}, VPrediction, "v-prediction: the checkpoint says so"),
        (
            {"v_pred": MARK, "ztsnr": MARK},
            VPrediction,
            "v-prediction with zero terminal SNR, its betas rescaled: the checkpoint says so",
        ),
        (
            {"ztsnr": MARK},
            NoisePrediction,
            "noise prediction with zero terminal SNR, its betas rescaled: the checkpoint says so",
        ),
        ({"edm_mean": MARK, "edm_std": MARK}, EdmPrediction, "EDM: the checkpoint says so"),
        (
            {"edm_vpred.sigma_max": torch.tensor(120.0)},
            EdmPrediction,
            "EDM: the checkpoint says so",
        ),
    ],
)
def test_markers_of_a_single_file_say_what_its_network_predicts(
    markers: dict[str, Tensor], kind: type[Parametrisation], note: str
) -> None:
    sampling = sampling_of_file(markers, VAE)
    assert type(sampling.parametrisation) is kind
    assert sampling_note(sampling) == note


@pytest.mark.parametrize(
    ("scheduler", "kind"),
    [
        ("karras", VPrediction),
        ("sgm_uniform", VPrediction),
        ("lcm", LatentConsistency),
        ("tcd", NoisePrediction),
        ("edm_playground_v2.5", EdmPrediction),
    ],
)
def test_a_scheduler_name_replaces_the_checkpoint_s_only_where_fooocus_does(
    scheduler: str, kind: type[Parametrisation]
) -> None:
    own = ModelSampling(VPrediction(DiscreteLevels()), LatentFormat(scale=0.2))
    made = own.under(scheduler)
    assert type(made.parametrisation) is kind
    assert made.parametrisation.trained is own.levels
    assert made.latents == (PLAYGROUND if kind is EdmPrediction else own.latents)


def test_a_vae_s_configuration_gives_the_latent_format() -> None:
    plain = latent_format(VAE)
    assert (plain.channels, plain.factor, plain.scale, plain.shift) == (4, 8, 0.13025, 0.0)
    assert plain.shape(1152, 896) == (1, 4, 112, 144)
    shifted = latent_format({**VAE, "latent_channels": 16, "shift_factor": 0.1159})
    latent = torch.randn(1, 16, 2, 2, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(shifted.to_model(latent), (latent - 0.1159) * 0.13025)
    torch.testing.assert_close(shifted.to_vae(shifted.to_model(latent)), latent)
    mean, std = [-1.6574, 1.886, -1.383, 2.5155], [8.4927, 5.9022, 6.5498, 5.2299]
    own = {"latents_mean": mean, "latents_std": std, "scaling_factor": 0.5}
    assert latent_format({**VAE, **own}) == PLAYGROUND
