"""Parametrisation and latent format of a checkpoint, read from its files.

A single file says by marker tensors how it was trained; a diffusers folder says it in
``scheduler_config.json``. Of that file only what belongs to the network is read: spacing and order
of a sampler are the request's.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import torch
from torch import Tensor

from pipeline.errors import InvalidModelFile
from pipeline.sampling.latent_format import PLAYGROUND, LatentFormat, LatentRgb, PerChannel
from pipeline.sampling.noise_levels import (
    BETA_END,
    BETA_START,
    STEPS,
    ContinuousLevels,
    DiscreteLevels,
    DistilledLevels,
    FlowLevels,
    alphas_bar_of_betas,
    scaled_linear_betas,
    zero_terminal_snr,
)
from pipeline.sampling.parametrisation import (
    PLAYGROUND_SIGMAS,
    EdmPrediction,
    FlowPrediction,
    LatentConsistency,
    ModelSampling,
    NoisePrediction,
    Parametrisation,
    VPrediction,
)
from pipeline.weights.tensors import read_config

LATENT_RGB: Final = "latent_rgb.json"  # a preview fitted to one model's latents
_SCHEDULER: Final = Path("scheduler") / "scheduler_config.json"
_SD_SCALE: Final = 0.18215  # diffusers' default for an AutoencoderKL

# Tensors of single files whose names alone matter.
_V_PREDICTION: Final = "v_pred"
_ZERO_SNR: Final = "ztsnr"
_EDM: Final = ("edm_mean", "edm_std")  # Playground v2.5
_EDM_V: Final = ("edm_vpred.sigma_min", "edm_vpred.sigma_max")  # CosXL; their values matter too

Config = Mapping[str, Any]


def sampling_of_file(
    tensors: Mapping[str, Tensor], vae_config: Config | None = None
) -> ModelSampling:
    """How the model of a single file is sampled; noise prediction where nothing else is said.

    Without ``vae_config`` it has SDXL's latents.
    """
    if all(name in tensors for name in _EDM):
        return ModelSampling(EdmPrediction(ContinuousLevels(*PLAYGROUND_SIGMAS)), PLAYGROUND)
    return ModelSampling(_marked(tensors), latent_format(vae_config))


def sampling_of_folder(folder: Path, vae_config: Config | None = None) -> ModelSampling:
    """How the model of a diffusers folder is sampled. Raises InvalidModelFile.

    Without ``vae_config`` it has SDXL's latents.
    """
    latents = latent_format(vae_config, folder / LATENT_RGB)
    path = folder / _SCHEDULER
    if not path.is_file():
        return ModelSampling(latents=latents)
    try:
        return ModelSampling(parametrisation_of(read_config(path)), latents)
    except (TypeError, ValueError) as error:
        raise InvalidModelFile(f"{folder.name}/{_SCHEDULER.as_posix()}: {error}") from error


def parametrisation_of(config: Config) -> Parametrisation:
    """The parametrisation that a diffusers scheduler's configuration says.

    Raises ValueError or TypeError for what is unknown here.
    """
    kind = str(config.get("_class_name", ""))
    predicts = config.get("prediction_type", "epsilon")
    if kind.startswith("FlowMatch") or predicts == "flow_prediction":
        shift = config.get("shift") or config.get("flow_shift") or 1.0
        return FlowPrediction(FlowLevels(float(shift)))
    if kind.startswith("EDM"):
        return _edm(config, v=predicts == "v_prediction")
    if predicts == "v_prediction":
        return VPrediction(_discrete_levels(config))
    if predicts != "epsilon":
        raise ValueError(
            f"the network predicts {predicts!r}; epsilon, v_prediction and flow_prediction are"
            " known"
        )
    if kind == "LCMScheduler":
        return LatentConsistency(DistilledLevels())
    if kind == "TCDScheduler":
        return NoisePrediction(DistilledLevels())
    return NoisePrediction(_discrete_levels(config))


def latent_format(vae_config: Config | None, rgb: Path | None = None) -> LatentFormat:
    """The latents of a VAE with this configuration; the preview from a file where there is one.

    Raises InvalidModelFile.
    """
    if vae_config is None:
        return LatentFormat()
    scale: PerChannel = float(vae_config.get("scaling_factor", _SD_SCALE))
    shift: PerChannel = float(vae_config.get("shift_factor") or 0.0)
    if vae_config.get("latents_mean") and vae_config.get("latents_std"):
        scale = tuple(scale / std for std in vae_config["latents_std"])
        shift = tuple(vae_config["latents_mean"])
    return LatentFormat(
        channels=vae_config["latent_channels"],
        factor=2 ** (len(vae_config["block_out_channels"]) - 1),
        scale=scale,
        shift=shift,
        rgb=_read_rgb(rgb) if rgb is not None and rgb.is_file() else LatentRgb(),
    )


def sampling_note(sampling: ModelSampling) -> str:
    """A line for the record about a network that is no ordinary noise prediction; "" for one."""
    zero_snr = isinstance(sampling.levels, DiscreteLevels) and sampling.levels.has_zero_snr
    if type(sampling.parametrisation) is NoisePrediction and not zero_snr:
        return ""
    rescaled = " with zero terminal SNR, its betas rescaled" if zero_snr else ""
    return f"{sampling.parametrisation.name}{rescaled}: the checkpoint says so"


def _marked(tensors: Mapping[str, Tensor]) -> Parametrisation:
    """What marker tensors say of a file."""
    low, high = (tensors.get(name) for name in _EDM_V)
    if high is not None:
        sigmas = (0.002 if low is None else float(low), float(high))
        return EdmPrediction(ContinuousLevels(*sigmas), data_std=1.0, v=True)
    levels = DiscreteLevels()
    if _ZERO_SNR in tensors:
        levels = DiscreteLevels(zero_terminal_snr(alphas_bar_of_betas(scaled_linear_betas())))
    return VPrediction(levels) if _V_PREDICTION in tensors else NoisePrediction(levels)


def _edm(config: Config, *, v: bool) -> EdmPrediction:
    levels = ContinuousLevels(
        float(config.get("sigma_min", PLAYGROUND_SIGMAS[0])),
        float(config.get("sigma_max", PLAYGROUND_SIGMAS[1])),
    )
    return EdmPrediction(levels, data_std=float(config.get("sigma_data", 0.5)), v=v)


def _discrete_levels(config: Config) -> DiscreteLevels:
    """The levels of a beta schedule. Raises ValueError for one that is unknown here."""
    alphas_bar = alphas_bar_of_betas(_betas(config))
    if config.get("rescale_betas_zero_snr"):
        alphas_bar = zero_terminal_snr(alphas_bar)
    return DiscreteLevels(alphas_bar)


def _betas(config: Config) -> Tensor:
    if config.get("trained_betas") is not None:
        return torch.tensor(config["trained_betas"], dtype=torch.float64)
    steps = config.get("num_train_timesteps", STEPS)
    if steps != STEPS:
        raise ValueError(f"{steps} steps of training; {STEPS} are known")
    ends = float(config.get("beta_start", BETA_START)), float(config.get("beta_end", BETA_END))
    schedule = config.get("beta_schedule", "scaled_linear")
    if schedule == "scaled_linear":
        return scaled_linear_betas(*ends)
    if schedule == "linear":
        return torch.linspace(*ends, STEPS, dtype=torch.float64)
    raise ValueError(f"beta schedule {schedule!r}; scaled_linear and linear are known")


def _read_rgb(path: Path) -> LatentRgb:
    try:
        return msgspec.json.decode(path.read_bytes(), type=LatentRgb)
    except msgspec.DecodeError as error:
        raise InvalidModelFile(f"{path.name}: {error}") from error
