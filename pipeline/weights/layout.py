"""Tensor names of the original SDXL layout, and diffusers' names of the same tensors.

Both name the same modules and only the paths differ, so each table is a list of prefix pairs made
from the model's configuration. diffusers converts too (``from_single_file``), but whole pipelines
at a time, as copies of the mapped file, with configurations that it fetches over the network; LoRA
files need the same table for single modules, which it does not offer.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from torch import Tensor

Config = Mapping[str, Any]
Prefixes = tuple[tuple[str, str], ...]

UNET_PREFIX: Final = "model.diffusion_model."
VAE_PREFIX: Final = "first_stage_model."
CLIP_L_PREFIX: Final = "conditioner.embedders.0.transformer."
CLIP_G_PREFIX: Final = "conditioner.embedders.1.model."

_RESNET: Final[Prefixes] = (
    ("in_layers.0.", "norm1."),
    ("in_layers.2.", "conv1."),
    ("emb_layers.1.", "time_emb_proj."),
    ("out_layers.0.", "norm2."),
    ("out_layers.3.", "conv2."),
    ("skip_connection.", "conv_shortcut."),
)
_VAE_RESNET: Final[Prefixes] = (("nin_shortcut.", "conv_shortcut."), ("", ""))
_VAE_ATTENTION: Final[Prefixes] = (
    ("norm.", "group_norm."),
    ("q.", "to_q."),
    ("k.", "to_k."),
    ("v.", "to_v."),
    ("proj_out.", "to_out.0."),
)
# diffusers before 0.18 named the matrices of a VAE's attention so.
_OLD_ATTENTION: Final[Prefixes] = (
    (".query.", ".to_q."),
    (".key.", ".to_k."),
    (".value.", ".to_v."),
    (".proj_attn.", ".to_out.0."),
)
_OPEN_CLIP: Final[Prefixes] = (
    ("token_embedding.", "text_model.embeddings.token_embedding."),
    ("positional_embedding", "text_model.embeddings.position_embedding.weight"),
    ("ln_final.", "text_model.final_layer_norm."),
)
_OPEN_CLIP_LAYER: Final[Prefixes] = (
    ("ln_1.", "layer_norm1."),
    ("ln_2.", "layer_norm2."),
    ("mlp.c_fc.", "mlp.fc1."),
    ("mlp.c_proj.", "mlp.fc2."),
    ("attn.out_proj.", "self_attn.out_proj."),
)


def unet_from_original(tensors: Mapping[str, Tensor], config: Config) -> dict[str, Tensor]:
    """A UNet's tensors under diffusers' names; unknown names stay as they are."""
    table = tuple(unet_prefixes(config))
    return {rename(name, table): tensor for name, tensor in tensors.items()}


def vae_from_original(tensors: Mapping[str, Tensor], config: Config) -> dict[str, Tensor]:
    """A VAE's tensors under diffusers' names; 1x1 convolutions of its attention become matrices."""
    table = tuple(vae_prefixes(config))
    return vae_as_named_today({rename(name, table): tensor for name, tensor in tensors.items()})


def vae_as_named_today(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A VAE's tensors in diffusers' layout of any version, as its present one has them.

    Matrices of attention were 1x1 convolutions, and had other names.
    """
    made = {}
    for name, tensor in tensors.items():
        if ".attentions." not in name:
            made[name] = tensor
            continue
        renamed = name
        for old, new in _OLD_ATTENTION:
            renamed = renamed.replace(old, new)
        made[renamed] = tensor[:, :, 0, 0] if tensor.ndim == 4 else tensor
    return made


def clip_l_from_original(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """CLIP-L's tensors under the names of transformers' module, which has no outer one."""
    return {name.removeprefix("text_model."): tensor for name, tensor in tensors.items()}


def clip_g_from_original(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """CLIP-G from OpenCLIP's layout: q, k and v are one matrix, the projection is transposed."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name == "text_projection":
            renamed["text_projection.weight"] = tensor.T
        elif name.startswith("transformer.resblocks."):
            layer, _, inner = name.removeprefix("transformer.resblocks.").partition(".")
            renamed.update(_open_clip_layer(f"text_model.encoder.layers.{layer}.", inner, tensor))
        else:
            renamed[rename(name, _OPEN_CLIP)] = tensor
    return renamed


def rename(name: str, table: Sequence[tuple[str, str]]) -> str:
    """``name`` with the first matching prefix replaced; unchanged where none matches."""
    for old, new in table:
        if name.startswith(old):
            return new + name[len(old) :]
    return name


def unet_prefixes(config: Config) -> Iterator[tuple[str, str]]:
    """(original, diffusers) prefixes of every module of a UNet2DConditionModel."""
    yield from (
        ("time_embed.0.", "time_embedding.linear_1."),
        ("time_embed.2.", "time_embedding.linear_2."),
        ("label_emb.0.0.", "add_embedding.linear_1."),
        ("label_emb.0.2.", "add_embedding.linear_2."),
        ("input_blocks.0.0.", "conv_in."),
        ("out.0.", "conv_norm_out."),
        ("out.2.", "conv_out."),
    )
    yield from _resnet("middle_block.0.", "mid_block.resnets.0.")
    yield ("middle_block.1.", "mid_block.attentions.0.")
    yield from _resnet("middle_block.2.", "mid_block.resnets.1.")
    yield from _down_prefixes(config)
    yield from _up_prefixes(config)


def _down_prefixes(config: Config) -> Iterator[tuple[str, str]]:
    levels, layers = len(config["down_block_types"]), config["layers_per_block"]
    for level in range(levels):
        first = 1 + level * (layers + 1)
        block = f"down_blocks.{level}."
        for layer in range(layers):
            old = f"input_blocks.{first + layer}."
            yield from _resnet(f"{old}0.", f"{block}resnets.{layer}.")
            yield (f"{old}1.", f"{block}attentions.{layer}.")
        yield (f"input_blocks.{first + layers}.0.op.", f"{block}downsamplers.0.conv.")


def _up_prefixes(config: Config) -> Iterator[tuple[str, str]]:
    types, layers = config["up_block_types"], config["layers_per_block"] + 1
    for level, kind in enumerate(types):
        block = f"up_blocks.{level}."
        # The upsampler follows the last layer's resnet, and its attention where there is one.
        upsampler = 2 if "CrossAttn" in kind else 1
        last = f"output_blocks.{(level + 1) * layers - 1}."
        yield (f"{last}{upsampler}.conv.", f"{block}upsamplers.0.conv.")
        for layer in range(layers):
            old = f"output_blocks.{level * layers + layer}."
            yield from _resnet(f"{old}0.", f"{block}resnets.{layer}.")
            yield (f"{old}1.", f"{block}attentions.{layer}.")


def vae_prefixes(config: Config) -> Iterator[tuple[str, str]]:
    """(original, diffusers) prefixes of every module of an AutoencoderKL."""
    for side in ("encoder.", "decoder."):
        for i in (0, 1):
            old = f"{side}mid.block_{i + 1}."
            yield from _nested(old, f"{side}mid_block.resnets.{i}.", _VAE_RESNET)
        yield from _nested(f"{side}mid.attn_1.", f"{side}mid_block.attentions.0.", _VAE_ATTENTION)
        yield (f"{side}norm_out.", f"{side}conv_norm_out.")
    levels, layers = len(config["down_block_types"]), config["layers_per_block"]
    for level in range(levels):
        old, new = f"encoder.down.{level}.", f"encoder.down_blocks.{level}."
        yield (f"{old}downsample.", f"{new}downsamplers.0.")
        for layer in range(layers):
            yield from _nested(f"{old}block.{layer}.", f"{new}resnets.{layer}.", _VAE_RESNET)
        # The original counts the decoder's levels from the picture, diffusers from the latent.
        old, new = f"decoder.up.{levels - 1 - level}.", f"decoder.up_blocks.{level}."
        yield (f"{old}upsample.", f"{new}upsamplers.0.")
        for layer in range(layers + 1):
            yield from _nested(f"{old}block.{layer}.", f"{new}resnets.{layer}.", _VAE_RESNET)


def _resnet(old: str, new: str) -> Iterator[tuple[str, str]]:
    return _nested(old, new, _RESNET)


def _nested(old: str, new: str, inner: Prefixes) -> Iterator[tuple[str, str]]:
    return ((old + a, new + b) for a, b in inner)


def _open_clip_layer(layer: str, inner: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    if inner.startswith("attn.in_proj_"):
        kind = inner.removeprefix("attn.in_proj_")
        for part, name in zip(tensor.chunk(3), "qkv", strict=True):
            yield f"{layer}self_attn.{name}_proj.{kind}", part
    else:
        yield layer + rename(inner, _OPEN_CLIP_LAYER), tensor
