"""Random models of SDXL's structure, small, in the formats that users have."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from pipeline.models import layout
from pipeline.models.checkpoint import SDXL_BASE, Configs, read_configs

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


def to_original(weights: Mapping[str, Mapping[str, Tensor]], configs: Configs) -> dict[str, Tensor]:
    """Names and shapes of the original layout; what no module uses is in there too."""
    unet = original_names(weights["unet"], layout.unet_prefixes(configs.unet))
    vae = original_names(weights["vae"], layout.vae_prefixes(configs.vae))
    tensors = {
        layout.UNET_PREFIX + old: weights["unet"][new]
        for old, new in zip(unet, weights["unet"], strict=True)
    }
    for old, (new, tensor) in zip(vae, weights["vae"].items(), strict=True):
        is_matrix = ".attentions." in new and tensor.ndim == 2
        tensors[layout.VAE_PREFIX + old] = tensor[:, :, None, None] if is_matrix else tensor
    for name, tensor in weights["text_encoder"].items():
        tensors[f"{layout.CLIP_L_PREFIX}text_model.{name}"] = tensor
    tensors |= _open_clip(weights["text_encoder_2"], configs.clip_g["num_hidden_layers"])
    tensors[f"{layout.CLIP_L_PREFIX}text_model.embeddings.position_ids"] = torch.arange(77)[None]
    tensors[f"{layout.CLIP_G_PREFIX}logit_scale"] = torch.tensor(1.0)
    tensors["denoiser.sigmas"] = torch.zeros(1000)
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def original_names(names: Iterable[str], prefixes: Iterable[tuple[str, str]]) -> list[str]:
    """The original layout's names of tensors that diffusers names so."""
    table = [(new, old) for old, new in prefixes]
    return [layout.rename(name, table) for name in names]


def _open_clip(tensors: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    inner = "text_model.encoder.layers"
    renamed = {
        "token_embedding.weight": tensors["text_model.embeddings.token_embedding.weight"],
        "positional_embedding": tensors["text_model.embeddings.position_embedding.weight"],
        "ln_final.weight": tensors["text_model.final_layer_norm.weight"],
        "ln_final.bias": tensors["text_model.final_layer_norm.bias"],
        "text_projection": tensors["text_projection.weight"].T,
    }
    names = {
        "ln_1": "layer_norm1",
        "ln_2": "layer_norm2",
        "mlp.c_fc": "mlp.fc1",
        "mlp.c_proj": "mlp.fc2",
        "attn.out_proj": "self_attn.out_proj",
    }
    for layer in range(layers):
        for kind in ("weight", "bias"):
            block = f"transformer.resblocks.{layer}"
            for old, new in names.items():
                renamed[f"{block}.{old}.{kind}"] = tensors[f"{inner}.{layer}.{new}.{kind}"]
            renamed[f"{block}.attn.in_proj_{kind}"] = torch.cat(
                [tensors[f"{inner}.{layer}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
            )
    return {layout.CLIP_G_PREFIX + name: tensor for name, tensor in renamed.items()}
