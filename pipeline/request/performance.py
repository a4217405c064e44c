"""The few-step performance modes: the LoRA, sampler and scheduler that each forces."""

from typing import Final

import msgspec

from pipeline.request.decode import GenerateParams
from pipeline.request.presets import Preset


class FastMode(msgspec.Struct, frozen=True):
    """A distilled few-step mode: its LoRA with weight, its sampler and its scheduler."""

    lora: str
    url: str  # of the LoRA; "" for a model's own
    weight: float
    sampler: str
    scheduler: str


FAST_MODES: Final = {
    "Extreme Speed": FastMode(
        lora="sdxl_lcm_lora.safetensors",
        url="https://huggingface.co/lllyasviel/misc/resolve/main/sdxl_lcm_lora.safetensors",
        weight=1.0,
        sampler="lcm",
        scheduler="lcm",
    ),
    "Lightning": FastMode(
        lora="sdxl_lightning_4step_lora.safetensors",
        url="https://huggingface.co/mashb1t/misc/resolve/main/sdxl_lightning_4step_lora.safetensors",
        weight=1.0,
        sampler="euler",
        scheduler="sgm_uniform",
    ),
    "Hyper-SD": FastMode(
        lora="sdxl_hyper_sd_4step_lora.safetensors",
        url="https://huggingface.co/mashb1t/misc/resolve/main/sdxl_hyper_sd_4step_lora.safetensors",
        weight=0.8,
        sampler="dpmpp_sde_gpu",
        scheduler="karras",
    ),
}

# Sampler and scheduler for few steps without such a LoRA: SDE samplers would leave noise.
FEW_STEPS: Final = ("dpmpp_2m", "sgm_uniform")


def fast_mode(params: GenerateParams, preset: Preset) -> FastMode | None:
    """The few-step mode in force; None too where the model has no LoRA for few steps.

    ``preset`` describes the model (``PresetStore.describing``).
    """
    mode = FAST_MODES.get(params.performance_selection)
    if mode is None or preset.few_step_lora is None:
        return mode
    own = preset.few_step_lora
    return msgspec.structs.replace(mode, lora=own, url="") if own else None
