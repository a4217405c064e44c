"""Random models of Stable Diffusion 1.5's structure, small, in the layouts that users have."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor

from pipeline.models.interposer import Interposer
from pipeline.models.refiner import SD15
from pipeline.weights import layout
from tools.original_layout import original_names

SMALLER: Mapping[str, Mapping[str, Any]] = {
    "unet": {
        "block_out_channels": [32, 64, 64, 64],
        "attention_head_dim": 4,
        "cross_attention_dim": 16,  # the small CLIP-L
        "layers_per_block": 1,
        "sample_size": 8,
    },
    "vae": {"block_out_channels": [32, 32, 32, 32], "layers_per_block": 1, "sample_size": 64},
}
Weights = dict[str, dict[str, Tensor]]


def write_sd15_configs(folder: Path, **unet: Any) -> dict[str, dict[str, Any]]:
    """The published configurations with smaller numbers, as a diffusers folder has them."""
    configs: dict[str, dict[str, Any]] = {}
    for part, changes in SMALLER.items():
        config = json.loads((SD15 / part / "config.json").read_bytes()) | dict(changes)
        configs[part] = config | (unet if part == "unet" else {})
        (folder / part).mkdir(parents=True, exist_ok=True)
        (folder / part / "config.json").write_text(json.dumps(configs[part]))
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    return configs


def make_sd15_weights(configs: Mapping[str, Mapping[str, Any]], seed: int = 4) -> Weights:
    torch.manual_seed(seed)
    unet = UNet2DConditionModel.from_config(dict(configs["unet"]))
    vae = AutoencoderKL.from_config(dict(configs["vae"]))
    return {"unet": dict(unet.state_dict()), "vae": dict(vae.state_dict())}


def write_sd15_folder(folder: Path, weights: Weights) -> None:
    for part, tensors in weights.items():
        whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
        save_file(whole, folder / part / "diffusion_pytorch_model.safetensors")


def write_sd15_file(path: Path, weights: Weights, configs: Mapping[str, Mapping[str, Any]]) -> None:
    """One file in the original layout; its text encoder is in there too."""
    unet = original_names(weights["unet"], layout.unet_prefixes(configs["unet"]))
    vae = original_names(weights["vae"], layout.vae_prefixes(configs["vae"]))
    tensors = {
        layout.UNET_PREFIX + old: tensor
        for old, tensor in zip(unet, weights["unet"].values(), strict=True)
    }
    for old, (new, tensor) in zip(vae, weights["vae"].items(), strict=True):
        is_matrix = ".attentions." in new and tensor.ndim == 2
        tensors[layout.VAE_PREFIX + old] = tensor[:, :, None, None] if is_matrix else tensor
    text = "cond_stage_model.transformer.text_model.final_layer_norm."
    tensors |= {f"{text}weight": torch.ones(16), f"{text}bias": torch.zeros(16)}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def write_interposer(path: Path, seed: int = 6) -> Interposer:
    """The published structure with random weights, and the counts that training left."""
    torch.manual_seed(seed)
    module = Interposer().eval()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.clone() for name, tensor in module.state_dict().items()}, path)
    return module
