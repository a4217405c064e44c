"""The embedded model's parts: SDXL's classes, with few and narrow layers."""

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

from tools.embedded.tokenizer import CONTEXT

Settings = Mapping[str, Any]

LATENT_CHANNELS: Final = 4
LATENT_FACTOR: Final = 8  # pixels a latent pixel, each way
SCALING_FACTOR: Final = 0.13025  # SDXL's; the VAE's latents are whitened to fit it

VAE_SETTINGS: Final[Settings] = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": LATENT_CHANNELS,
    "block_out_channels": (16, 32, 48, 64),
    "layers_per_block": 1,
    "norm_num_groups": 2,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "sample_size": 256,
    "mid_block_add_attention": False,
    "scaling_factor": SCALING_FACTOR,
    "force_upcast": False,
}


class Architecture(NamedTuple):
    """Sizes of the UNet and of the text encoders that speak to it."""

    channels: tuple[int, ...] = (32, 64, 128)
    heads: tuple[int, ...] = (1, 2, 4)
    text_width: int = 64
    text_layers: tuple[int, int] = (2, 3)
    text_heads: int = 4
    time_width: int = 32  # of the embedding of each size number

    def unet_settings(self) -> Settings:
        levels = len(self.channels)
        return {
            "sample_size": 32,
            "in_channels": LATENT_CHANNELS,
            "out_channels": LATENT_CHANNELS,
            "block_out_channels": self.channels,
            "layers_per_block": 1,
            "down_block_types": ("DownBlock2D", *["CrossAttnDownBlock2D"] * (levels - 1)),
            "up_block_types": (*["CrossAttnUpBlock2D"] * (levels - 1), "UpBlock2D"),
            "transformer_layers_per_block": 1,
            "attention_head_dim": self.heads,
            "cross_attention_dim": 2 * self.text_width,
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": self.time_width,
            "projection_class_embeddings_input_dim": 6 * self.time_width + self.text_width,
            "norm_num_groups": 4,
        }


STANDARD: Final = Architecture()


def build_vae() -> AutoencoderKL:
    """An untrained VAE that hides little at first: it learns to paint before it learns to blur."""
    vae = AutoencoderKL(**VAE_SETTINGS)
    with torch.no_grad():
        vae.quant_conv.weight[LATENT_CHANNELS:] = 0
        vae.quant_conv.bias[LATENT_CHANNELS:] = -4.5
    return vae


def build_denoiser(
    tokenizers: tuple[CLIPTokenizer, CLIPTokenizer], architecture: Architecture = STANDARD
) -> nn.ModuleDict:
    """Untrained UNet and text encoders, in float32, under the names ``unet``, ``te1``, ``te2``."""
    unet = UNet2DConditionModel(**architecture.unet_settings())
    # The fused attention's bf16 backward pass is slow on CPUs, and nothing here is large.
    unet.set_attn_processor(AttnProcessor())
    first, second = (
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=architecture.text_width,
            intermediate_size=4 * architecture.text_width,
            projection_dim=architecture.text_width,
            num_hidden_layers=layers,
            num_attention_heads=architecture.text_heads,
            max_position_embeddings=CONTEXT,
            hidden_act=activation,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        for tokenizer, layers, activation in zip(
            tokenizers, architecture.text_layers, ("quick_gelu", "gelu"), strict=True
        )
    )
    parts = {
        "unet": unet,
        "te1": _build_text_encoder(CLIPTextModel, first),
        "te2": _build_text_encoder(CLIPTextModelWithProjection, second),
    }
    return nn.ModuleDict(parts).float()


def _build_text_encoder(model_class: Any, config: CLIPTextConfig) -> nn.Module:
    """Larger first weights than CLIP's: with so few layers its own are too faint to train on."""
    encoder = cast(nn.Module, model_class._from_config(config, attn_implementation="eager"))  # noqa: SLF001
    with torch.no_grad():
        for name, weight in encoder.named_parameters():
            if "token_embedding" in name:
                weight.normal_(0, 0.4)
            elif "position_embedding" in name:
                weight.normal_(0, 0.1)
            elif name.endswith("weight") and weight.ndim == 2:
                weight.normal_(0, 0.7 / math.sqrt(weight.shape[1]))
    return encoder
