"""The few-step performance modes: what each forces, and which LoRA makes it work. Torch-free."""

from typing import Final

import msgspec

from pipeline.request.decode import GenerateParams
from pipeline.request.presets import Preset


class FastMode(msgspec.Struct, frozen=True):
    """What a few-step mode forces: its LoRA with weight, sampler and scheduler."""

    lora: str
    url: str  # where the file is to be had
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

# For few steps of a model that has no few-step LoRA: the SDE samplers would leave noise.
FEW_STEPS: Final = ("dpmpp_2m", "sgm_uniform")


def fast_mode(params: GenerateParams, preset: Preset) -> FastMode | None:
    """The few-step mode in force; None too where no LoRA makes the model work in few steps.

    ``preset`` describes the model (``PresetStore.describing``).
    """
    mode = FAST_MODES.get(params.performance_selection)
    if mode is None or preset.few_step_lora is None:
        return mode
    own = preset.few_step_lora
    return msgspec.structs.replace(mode, lora=own, url="") if own else None
