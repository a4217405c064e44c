"""Random image prompt files, small, in the formats that users have."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

ENCODER: Mapping[str, Any] = {
    "hidden_act": "gelu",
    "hidden_size": 40,
    "image_size": 32,
    "intermediate_size": 80,
    "num_attention_heads": 2,
    "num_hidden_layers": 3,
    "patch_size": 8,
    "projection_dim": 24,
}
TOKENS = 5

Published = dict[str, dict[str, Tensor]]


def make_unet(seed: int = 0, width: int = 8) -> UNet2DConditionModel:
    """An SDXL-shaped network of random weights, as small as can be; prompts are ``width`` wide."""
    torch.manual_seed(seed)
    unet: UNet2DConditionModel = UNet2DConditionModel(
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(32, 64, 128),
        attention_head_dim=(2, 4, 8),
        layers_per_block=1,
        transformer_layers_per_block=(1, 1, 2),
        cross_attention_dim=width,
        addition_embed_type="text_time",
        addition_time_embed_dim=16,
        projection_class_embeddings_input_dim=4 + 6 * 16,
        use_linear_projection=True,
    )
    return unet.requires_grad_(requires_grad=False).eval()


def make_encoder(seed: int = 0) -> CLIPVisionModelWithProjection:
    """A CLIP image encoder as transformers makes it."""
    torch.manual_seed(seed)
    return CLIPVisionModelWithProjection(CLIPVisionConfig(**ENCODER)).eval()


def make_adapter(unet: UNet2DConditionModel, seed: int = 0, depth: int = 4) -> Published:
    """An IP-Adapter "plus" for a UNet, in its published layout."""
    torch.manual_seed(seed)
    features, hidden, heads, out = (
        ENCODER["hidden_size"],
        48,
        2 * 64,
        unet.config.cross_attention_dim,
    )
    shapes = {
        "latents": (1, TOKENS, hidden),
        "proj_in.weight": (hidden, features),
        "proj_in.bias": (hidden,),
        "proj_out.weight": (out, hidden),
        "proj_out.bias": (out,),
        "norm_out.weight": (out,),
        "norm_out.bias": (out,),
    }
    for block in range(depth):
        shapes |= {
            f"layers.{block}.0.norm1.weight": (hidden,),
            f"layers.{block}.0.norm1.bias": (hidden,),
            f"layers.{block}.0.norm2.weight": (hidden,),
            f"layers.{block}.0.norm2.bias": (hidden,),
            f"layers.{block}.0.to_q.weight": (heads, hidden),
            f"layers.{block}.0.to_kv.weight": (2 * heads, hidden),
            f"layers.{block}.0.to_out.weight": (hidden, heads),
            f"layers.{block}.1.0.weight": (hidden,),
            f"layers.{block}.1.0.bias": (hidden,),
            f"layers.{block}.1.1.weight": (4 * hidden, hidden),
            f"layers.{block}.1.3.weight": (hidden, 4 * hidden),
        }
    resampler = {name: torch.randn(shape) / 4 for name, shape in shapes.items()}
    layers = {}
    for number, (name, processor) in enumerate(unet.attn_processors.items()):
        assert processor is not None
        if name.endswith("attn2.processor"):
            rows = unet.get_submodule(name.removesuffix("processor") + "to_k").out_features
            for kind in ("to_k_ip", "to_v_ip"):
                layers[f"{number}.{kind}.weight"] = torch.randn(rows, out) / out**0.5
    return {"image_proj": resampler, "ip_adapter": layers}


def flat(adapter: Published) -> dict[str, Tensor]:
    """The names that such a file has as safetensors."""
    return {f"{group}.{name}": t for group, inner in adapter.items() for name, t in inner.items()}


def write_adapter(path: Path, adapter: Published) -> Path:
    """A pickle or, by the name's ending, a safetensors file."""
    if path.suffix == ".safetensors":
        save_file(flat(adapter), path)
    else:
        torch.save(adapter, path)
    return path
