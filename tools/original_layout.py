"""A model's tensors as the original SDXL checkpoints name and shape them: what loading undoes.

Works on the meta device too, so a file can be planned before a single number of it exists.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from pipeline.models.checkpoint import Configs
from pipeline.weights import layout


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
