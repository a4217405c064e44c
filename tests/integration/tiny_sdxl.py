"""Random models of SDXL's structure, small, in the formats that users have."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from pipeline.models.checkpoint import SDXL_BASE, Configs, read_configs
from tools.original_layout import to_original

SMALLER: Mapping[str, Mapping[str, Any]] = {
    "unet": {
        "block_out_channels": [32, 64, 64],
        "attention_head_dim": [2, 4, 4],
        "transformer_layers_per_block": [1, 1, 2],
        "cross_attention_dim": 48,
        "projection_class_embeddings_input_dim": 32 + 6 * 256,
        "sample_size": 8,
    },
    "vae": {"block_out_channels": [32, 32, 32, 32], "layers_per_block": 1, "sample_size": 64},
    "text_encoder": {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_attention_heads": 2,
        "num_hidden_layers": 3,
        "projection_dim": 16,
    },
    "text_encoder_2": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_attention_heads": 2,
        "num_hidden_layers": 3,
        "projection_dim": 32,
    },
}
WEIGHT_FILES = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
    "text_encoder_2": "model",
}


def write_configs(folder: Path) -> Configs:
    """SDXL base's configurations with smaller numbers, as a diffusers folder has them."""
    for part, changes in SMALLER.items():
        config = json.loads((SDXL_BASE / part / "config.json").read_bytes()) | dict(changes)
        (folder / part).mkdir(parents=True, exist_ok=True)
        (folder / part / "config.json").write_text(json.dumps(config))
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionXLPipeline"}')
    return read_configs(folder)


def make_weights(configs: Configs, seed: int = 1) -> dict[str, dict[str, Tensor]]:
    """Random weights of each part under diffusers' names."""
    torch.manual_seed(seed)
    modules = {
        "unet": UNet2DConditionModel.from_config(configs.unet),
        "vae": AutoencoderKL.from_config(configs.vae),
        "text_encoder": CLIPTextModel(CLIPTextConfig(**configs.clip_l)),
        "text_encoder_2": CLIPTextModelWithProjection(CLIPTextConfig(**configs.clip_g)),
    }
    return {name: dict(module.state_dict()) for name, module in modules.items()}


def write_folder(
    folder: Path, weights: Mapping[str, Mapping[str, Tensor]], variant: str = ""
) -> None:
    """Weights beside the configurations, with an infix such as ``.fp16`` in their names."""
    for part, tensors in weights.items():
        path = folder / part / f"{WEIGHT_FILES[part]}{variant}.safetensors"
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def write_single_file(
    path: Path, weights: Mapping[str, Mapping[str, Tensor]], configs: Configs
) -> None:
    """The same weights in the original layout, as one file."""
    save_file(to_original(weights, configs), path)
