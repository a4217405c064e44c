"""LoRA files of every layout for a tiny SDXL checkpoint."""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from pipeline.weights.lora import ChosenLora
from pipeline.weights.lora_names import LoraModules

CPU = torch.device("cpu")


RANK = 2


ALPHA = 1.0


# A module of each sort: diffusers' name and the original one.
UNET = {
    "down_blocks.0.resnets.0.conv1": "input_blocks.1.0.in_layers.2",
    "down_blocks.0.downsamplers.0.conv": "input_blocks.3.0.op",
    "time_embedding.linear_1": "time_embed.0",
    "mid_block.attentions.0.proj_in": "middle_block.1.proj_in",
    "up_blocks.0.upsamplers.0.conv": "output_blocks.2.2.conv",
}


ATTENTION = {
    f"down_blocks.1.attentions.0.transformer_blocks.0.{name}": (
        f"input_blocks.4.1.transformer_blocks.0.{name}"
    )
    for name in ("attn2.to_k", "attn1.to_out.0")
}


TEXT = ("encoder.layers.1.self_attn.q_proj", "encoder.layers.0.self_attn.out_proj")


Factors = tuple[Tensor, Tensor]


Layout = Callable[[dict[str, Factors]], dict[str, Tensor]]


def flat(name: str) -> str:
    return name.replace(".", "_")


def original(name: str) -> str:
    return {**UNET, **ATTENTION}[name]


def spelled(
    name_of: Callable[[str, str], str], up: str, down: str, *, alpha: bool = False
) -> Layout:
    """A layout: ``name_of(part, module)``, and the endings of the two factors."""

    def write(factors: dict[str, Factors]) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        for key, (first, second) in factors.items():
            part, _, module = key.partition(":")
            name = name_of(part, module)
            # Without alpha the factors are stored so that they give the same change.
            tensors[name + up] = first.clone() if alpha else first * (ALPHA / RANK)
            tensors[name + down] = second.clone()
            if alpha:
                tensors[f"{name}.alpha"] = torch.tensor(ALPHA)
        return tensors

    return write


def kohya(unet: Callable[[str], str]) -> Callable[[str, str], str]:
    prefixes = {"clip_l": "lora_te1_text_model_", "clip_g": "lora_te2_text_model_"}

    def name_of(part: str, module: str) -> str:
        if part == "unet":
            return f"lora_unet_{flat(unet(module))}"
        return prefixes[part] + flat(module)

    return name_of


def dotted(part: str, module: str) -> str:
    prefixes = {
        "unet": "unet.",
        "clip_l": "text_encoder.text_model.",
        "clip_g": "text_encoder_2.text_model.",
    }
    return prefixes[part] + module


def original_dotted(part: str, module: str) -> str:
    if part == "unet":
        return f"diffusion_model.{original(module)}"
    return f"{part}.transformer.text_model.{module}"


def processors(part: str, module: str) -> str:
    """diffusers' oldest layout, which knows attention only."""
    name = dotted(part, module).removesuffix(".0")
    if part == "unet":
        return name.replace(".to_", ".processor.to_")
    return name.replace(".q_proj", ".to_q").replace(".out_proj", ".to_out")


def peft(part: str, module: str) -> str:
    return module if part == "unet" else dotted(part, module)


LAYOUTS: dict[str, Layout] = {
    "kohya, original names": spelled(
        kohya(original), ".lora_up.weight", ".lora_down.weight", alpha=True
    ),
    "kohya, diffusers names": spelled(
        kohya(lambda name: name), ".lora_up.weight", ".lora_down.weight", alpha=True
    ),
    "diffusers": spelled(dotted, ".lora_B.weight", ".lora_A.weight"),
    "diffusers before PEFT": spelled(dotted, ".lora.up.weight", ".lora.down.weight"),
    "transformers": spelled(
        dotted, ".lora_linear_layer.up.weight", ".lora_linear_layer.down.weight"
    ),
    "attention processors": spelled(processors, "_lora.up.weight", "_lora.down.weight"),
    "original": spelled(original_dotted, ".lora_up.weight", ".lora_down.weight", alpha=True),
    "PEFT": spelled(
        lambda part, module: f"base_model.model.{peft(part, module)}",
        ".lora_B.default.weight",
        ".lora_A.default.weight",
    ),
}


def weights_of(modules: LoraModules) -> dict[str, Tensor]:
    found = {}
    for part, module in modules._asdict().items():
        for name, tensor in module.state_dict().items():
            found[f"{part}:{name.removeprefix('text_model.')}"] = tensor
    return found


def make_factors(modules: LoraModules, *, attention_only: bool = False) -> dict[str, Factors]:
    """Random factors for some modules of each part."""
    generator = torch.Generator().manual_seed(3)
    unet = [*ATTENTION] if attention_only else [*UNET, *ATTENTION]
    keys = [f"unet:{name}" for name in unet]
    keys += [f"{part}:{name}" for part in ("clip_l", "clip_g") for name in TEXT]
    factors = {}
    for key in keys:
        shape = weights_of(modules)[f"{key}.weight"].shape
        ones = [1] * (len(shape) - 2)
        up = torch.randn(shape[0], RANK, *ones, generator=generator)
        factors[key] = (up, torch.randn(RANK, *shape[1:], generator=generator))
    return factors


def save(path: Path, tensors: dict[str, Tensor], weight: float = 0.7) -> ChosenLora:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return ChosenLora(path.name, path, weight)


def a_lora(path: Path, modules: LoraModules, weight: float = 0.7) -> ChosenLora:
    return save(path, LAYOUTS["diffusers"](make_factors(modules)), weight)
