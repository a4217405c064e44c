"""Checkpoints that predict something else than noise, against diffusers' schedulers on the same
weights: what the files say, the schedule's levels, and the loop."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
)
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline.errors import InvalidModelFile
from pipeline.models.checkpoint import Checkpoint, load_checkpoint
from pipeline.request.sampling import Guidance, SamplingSettings
from pipeline.sampling.adm import SdxlSizes
from pipeline.sampling.denoiser import Conditioning, Denoiser, NetworkInput
from pipeline.sampling.noise_levels import FlowLevels
from pipeline.sampling.samplers import sampler_for
from pipeline.sampling.sigmas import make_sigmas
from tests.integration.tiny_sdxl import make_weights, write_configs, write_folder, write_single_file

CPU = torch.device("cpu")
STEPS = 10
SIDE = 64
V = {"_class_name": "EulerDiscreteScheduler", "prediction_type": "v_prediction"}
ZERO_SNR = {**V, "rescale_betas_zero_snr": True}
SDXL = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}
EDM = {"_class_name": "EDMEulerScheduler", "sigma_max": 80.0}

Write = Callable[[Mapping[str, Any] | None], Path]


@pytest.fixture(scope="module")
def write(tmp_path_factory: pytest.TempPathFactory) -> Write:
    """A folder with the same weights each time, and a scheduler's configuration."""

    def made(scheduler: Mapping[str, Any] | None) -> Path:
        folder = tmp_path_factory.mktemp("model")
        write_folder(folder, make_weights(write_configs(folder)))
        if scheduler is not None:
            (folder / "scheduler").mkdir()
            (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
        return folder

    return made


class Network:
    """A checkpoint's UNet with one prompt, as diffusers' pipelines call it."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        random = torch.Generator().manual_seed(3)
        self._unet = checkpoint.unet
        self.prompts = [
            Conditioning(
                torch.randn(1, 77, 48, generator=random), torch.randn(1, 32, generator=random)
            )
            for _ in range(2)
        ]

    def __call__(self, x: Tensor, timestep: Tensor, prompt: int = 0) -> Tensor:
        asked = self.prompts[prompt]
        return self._unet(
            NetworkInput(
                x=x,
                timestep=timestep.reshape(1).float(),
                context=asked.context,
                pooled=asked.pooled,
                time_ids=torch.tensor([[SIDE, SIDE, 0, 0, SIDE, SIDE]]).float(),
                sigma=0.0,
                positive=(True,),
            )
        )


def ours(
    checkpoint: Checkpoint, sampler: str, x: Tensor, sigmas: Tensor, rescale: float | None = None
) -> Tensor:
    """The latent after the sampler; with ``rescale`` guided at 7 by both prompts."""
    guidance = Guidance(
        cfg=1.0 if rescale is None else 7.0,
        sharpness=0.0,
        adaptive_cfg=30.0,
        adm_scaler_positive=1.0,
        adm_scaler_negative=1.0,
        adm_scaler_end=0.0,
        rescale=rescale or 0.0,
    )
    positive, negative = Network(checkpoint).prompts
    denoise = Denoiser(
        checkpoint.unet,
        checkpoint.model_sampling,
        positive,
        negative,
        guidance,
        SdxlSizes(SIDE, SIDE, guidance),
    )

    def no_noise(_sigma: Tensor, _sigma_next: Tensor) -> Tensor:
        raise AssertionError(sampler)

    run = sampler_for(sampler, checkpoint.model_sampling.levels)
    return run(denoise, x, sigmas, no_noise, lambda _index, _denoised: None)


def theirs(network: Network, scheduler: Any, x: Tensor, rescale: float | None = None) -> Tensor:
    """The loop of diffusers' pipelines, from ``x`` at the scheduler's first level."""
    for timestep in scheduler.timesteps:
        seen = (
            scheduler.scale_model_input(x, timestep)
            if hasattr(scheduler, "init_noise_sigma")
            else x
        )
        output = network(seen, timestep)
        if rescale is not None:
            other = network(seen, timestep, 1)
            guided = other + 7.0 * (output - other)
            ratio = output.std((1, 2, 3), keepdim=True) / guided.std((1, 2, 3), keepdim=True)
            output = rescale * guided * ratio + (1 - rescale) * guided
        x = scheduler.step(output, timestep, x, return_dict=False)[0]
    return x


def noise() -> Tensor:
    return torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(5))


def schedule(checkpoint: Checkpoint, scheduler: str, sampler: str = "euler") -> Tensor:
    settings = SamplingSettings(sampler=sampler, scheduler=scheduler, steps=STEPS)
    return make_sigmas(settings, checkpoint.model_sampling.levels)


@pytest.mark.parametrize("rescale", [None, 0.0, 0.7])
@pytest.mark.parametrize("config", [V, ZERO_SNR], ids=["v", "v, zero SNR"])
@torch.inference_mode()
def test_euler_on_a_v_prediction_checkpoint_is_diffusers_euler(
    write: Write, config: Mapping[str, Any], rescale: float | None
) -> None:
    checkpoint = load_checkpoint(write(config), CPU)
    reference = EulerDiscreteScheduler.from_config(
        {**config, **SDXL, "timestep_spacing": "trailing"}
    )
    reference.set_timesteps(STEPS)
    sigmas = schedule(checkpoint, "simple")  # "trailing" is what it is called there
    torch.testing.assert_close(sigmas, reference.sigmas, rtol=1e-3, atol=1e-6)
    x = noise() * sigmas[0]
    made = ours(checkpoint, "euler", x, reference.sigmas, rescale)
    expected = theirs(Network(checkpoint), reference, x, rescale)
    torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@torch.inference_mode()
def test_heun_on_a_v_prediction_checkpoint_is_diffusers_heun(write: Write) -> None:
    checkpoint = load_checkpoint(write(V), CPU)
    reference = HeunDiscreteScheduler.from_config({**V, **SDXL, "timestep_spacing": "trailing"})
    reference.set_timesteps(STEPS)
    sigmas = schedule(checkpoint, "simple")
    x = noise() * sigmas[0]
    made, expected = (
        ours(checkpoint, "heun", x, sigmas),
        theirs(Network(checkpoint), reference, x),
    )
    torch.testing.assert_close(made, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


@torch.inference_mode()
def test_euler_on_an_edm_checkpoint_is_diffusers_euler(write: Write) -> None:
    checkpoint = load_checkpoint(write(EDM), CPU)
    reference = EDMEulerScheduler.from_config(EDM)
    reference.set_timesteps(STEPS)
    sigmas = schedule(checkpoint, "karras")
    torch.testing.assert_close(sigmas, reference.sigmas, rtol=1e-4, atol=0)
    x = noise() * sigmas[0]
    made = ours(checkpoint, "euler", x, sigmas)
    expected = theirs(Network(checkpoint), reference, x)
    torch.testing.assert_close(made, expected, rtol=1e-3, atol=1e-3)


@torch.inference_mode()
def test_euler_on_a_flow_checkpoint_is_diffusers_euler(write: Write) -> None:
    """Ours works on x0 + sigma * noise, theirs on (1 - t) * x0 + t * noise."""
    checkpoint = load_checkpoint(write(FLOW), CPU)
    levels = checkpoint.model_sampling.levels
    assert isinstance(levels, FlowLevels)
    sigmas = schedule(checkpoint, "simple")
    times = torch.where(sigmas > 0, levels.time(sigmas), 0.0)
    reference = FlowMatchEulerDiscreteScheduler.from_config({**FLOW, "shift": 1.0})
    reference.set_timesteps(sigmas=times[:-1].tolist())
    torch.testing.assert_close(reference.sigmas, times)
    made = ours(checkpoint, "euler", noise() * sigmas[0], sigmas)
    expected = theirs(Network(checkpoint), reference, noise())
    torch.testing.assert_close(made, expected, rtol=1e-2, atol=2e-3 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("config", "markers"), [(V, ("v_pred",)), (ZERO_SNR, ("v_pred", "ztsnr")), (None, ())]
)
@torch.inference_mode()
def test_a_single_file_and_a_folder_say_the_same(
    write: Write, tmp_path: Path, config: Mapping[str, Any] | None, markers: tuple[str, ...]
) -> None:
    folder, configs = write(config), tmp_path / "configs"
    path = tmp_path / "model.safetensors"
    write_single_file(path, make_weights(write_configs(configs)), write_configs(configs))
    save_file({**load_file(path), **{name: torch.zeros(()) for name in markers}}, path)
    made = []
    for checkpoint in (
        load_checkpoint(folder, CPU),
        load_checkpoint(path, CPU, single_file_configs=configs),
    ):
        sigmas = schedule(checkpoint, "karras")
        made.append(ours(checkpoint, "euler", noise() * sigmas[0], sigmas))
    torch.testing.assert_close(*made)


def test_a_folder_that_predicts_something_unknown_is_refused_by_name(write: Write) -> None:
    folder = write({"prediction_type": "sample"})
    with pytest.raises(
        InvalidModelFile, match=r"scheduler/scheduler_config\.json: the network predicts 'sample'"
    ):
        load_checkpoint(folder, CPU)
