"""IP-Adapter "plus" files (arXiv:2308.06721): image features to tokens, tokens to keys and values.

The resampler is diffusers' module; its loader patches a whole pipeline, which there is none of.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn

from pipeline.adapters.ip_attention import cross_attentions
from pipeline.errors import InvalidModelFile
from pipeline.models.image_encoder import ImageEncoder
from pipeline.models.networks import IPAdapterPlusImageProjection
from pipeline.weights import layout
from pipeline.weights.casting import working_dtype
from pipeline.weights.tensors import fill, read_values

_RESAMPLER: Final = "image_proj"
_LAYERS: Final = "ip_adapter"
_LATENTS: Final = "latents"
_HEAD_WIDTH: Final = 64  # of the resampler, in every published file

Tensors = Mapping[str, Tensor]

# (published, diffusers') names within a block of the resampler.
_BLOCK: Final = (
    ("0.norm1.", "ln0."),
    ("0.norm2.", "ln1."),
    ("0.to_q.", "attn.to_q."),
    ("0.to_out.", "attn.to_out.0."),
    ("1.0.", "ff.0."),
    ("1.1.", "ff.1.net.0.proj."),
    ("1.3.", "ff.1.net.2."),
)


class ImageTokens(NamedTuple):
    """An image as tokens, each (1, T, D); ``negative`` are those of a blank one."""

    positive: Tensor
    negative: Tensor


class AdapterParts(NamedTuple):
    """The two halves of an adapter file, under their published names without the prefix."""

    resampler: Tensors
    layers: Tensors


class ImageAdapter:
    """One adapter file on a device, fitted to a class of UNets."""

    def __init__(self, name: str, resampler: Any, layers: nn.ModuleDict) -> None:
        self.name = name
        self._resampler = resampler
        self._layers = layers

    def tokens(self, image: Image.Image, encoder: ImageEncoder) -> ImageTokens:
        """The tokens of an image. Raises InvalidModelFile if the encoder is of another width."""
        wanted = self._resampler.proj_in.in_features
        if encoder.width != wanted:
            raise InvalidModelFile(
                f"{self.name} reads {wanted} features a patch, but the image encoder gives"
                f" {encoder.width}; the two do not belong together"
            )
        positive, negative = encoder.features(image), encoder.blank_features()
        return ImageTokens(self._resample(positive), self._resample(negative))

    def keys_values(self, tokens: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values (B, T, C) of tokens (B, T, D), in the order of the layers' numbers."""
        layers: Any = self._layers.values()
        return [(layer["to_k_ip"](tokens), layer["to_v_ip"](tokens)) for layer in layers]

    def _resample(self, features: Tensor) -> Tensor:
        tokens: Tensor = self._resampler(features.to(self._resampler.latents))
        return tokens


def load_adapter(path: Path, unet: nn.Module, device: torch.device) -> ImageAdapter:
    """The adapter of a file, for a diffusers UNet and in its dtype. Raises InvalidModelFile."""
    parts = read_adapter(path)
    dtype = working_dtype(unet)
    renamed = resampler_from_published(parts.resampler)
    with torch.device("meta"):
        resampler = _resampler_like(renamed, path.name)
    fill(resampler, renamed, _part(path.name, _RESAMPLER), dtype)
    layers = _layers_for(unet)
    fill(layers, parts.layers, _part(path.name, _LAYERS), dtype)
    _check_tokens(resampler, layers, path.name)
    return ImageAdapter(path.name, resampler.to(device), layers.to(device))


def read_adapter(path: Path) -> AdapterParts:
    """The tensors of a file, pickled in two groups or flat as safetensors.

    Raises InvalidModelFile if it is no adapter, or one of another kind than "plus".
    """
    tensors = _flat(read_values(path, "image-prompt adapter"))
    parts = AdapterParts(_below(tensors, _RESAMPLER), _below(tensors, _LAYERS))
    for prefix, group in zip((_RESAMPLER, _LAYERS), parts, strict=True):
        if not group:
            first = ", ".join(list(tensors)[:3]) or "no tensor"
            raise InvalidModelFile(
                f"{path.name} is no IP-Adapter: it has no {prefix} (it begins with {first})"
            )
    if _LATENTS not in parts.resampler:
        first = ", ".join(list(parts.resampler)[:3])
        raise InvalidModelFile(
            f'{path.name} is an IP-Adapter of another kind; only "plus" files, which have'
            f" {_RESAMPLER}.{_LATENTS}, are read (it has {first})"
        )
    return parts


def resampler_from_published(tensors: Tensors) -> dict[str, Tensor]:
    """A resampler's tensors under diffusers' names; keys and values were one matrix."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        head, _, inner = name.removeprefix("layers.").partition(".")
        if not name.startswith("layers."):
            renamed[name] = tensor
        elif inner == "0.to_kv.weight" and tensor.ndim == 2:
            key, value = tensor.tensor_split(2)
            renamed[f"layers.{head}.attn.to_k.weight"] = key
            renamed[f"layers.{head}.attn.to_v.weight"] = value
        else:
            renamed[f"layers.{head}.{layout.rename(inner, _BLOCK)}"] = tensor
    return renamed


def _resampler_like(tensors: Tensors, name: str) -> nn.Module:
    """A resampler of the sizes that the tensors (diffusers' names) have."""
    latents = _sides(tensors, _LATENTS, 3, name)
    inner = _sides(tensors, "layers.0.attn.to_q.weight", 2, name)[0]
    if inner % _HEAD_WIDTH:
        raise InvalidModelFile(
            f"{name}: {_RESAMPLER}.layers.0.0.to_q.weight has {inner} rows, no multiple of"
            f" {_HEAD_WIDTH}"
        )
    hidden = latents[2]
    widened = _sides(tensors, "layers.0.ff.1.net.0.proj.weight", 2, name)[0]
    blocks = {key.split(".")[1] for key in tensors if key.startswith("layers.")}
    made: nn.Module = IPAdapterPlusImageProjection(
        embed_dims=_sides(tensors, "proj_in.weight", 2, name)[1],
        output_dims=_sides(tensors, "proj_out.weight", 2, name)[0],
        hidden_dims=hidden,
        depth=len(blocks),
        dim_head=_HEAD_WIDTH,
        heads=inner // _HEAD_WIDTH,
        num_queries=latents[1],
        ffn_ratio=(widened + 0.5) / hidden,  # truncated to ``widened`` when multiplied out
    )
    return made


def _check_tokens(resampler: Any, layers: Any, name: str) -> None:
    made, wanted = resampler.proj_out.out_features, layers["1"]["to_k_ip"].in_features
    if made != wanted:
        raise InvalidModelFile(
            f"{name}: its tokens are {made} wide ({_RESAMPLER}.proj_out.weight), but its layers"
            f" read {wanted}"
        )


def _sides(tensors: Tensors, key: str, count: int, name: str) -> tuple[int, ...]:
    """The shape of a tensor that sizes are read from."""
    tensor = tensors.get(key)
    if tensor is None or tensor.ndim != count or not all(tensor.shape):
        found = "missing" if tensor is None else f"of shape {list(tensor.shape)}"
        raise InvalidModelFile(f"the {_part(name, _RESAMPLER)} does not fit; {key} is {found}")
    return tuple(tensor.shape)


def _layers_for(unet: nn.Module) -> nn.ModuleDict:
    """Modules without weights for each cross-attention, under the published numbers.

    The published code counts every attention from 0; self-attention and cross-attention alternate.
    """
    layers = nn.ModuleDict()
    with torch.device("meta"):
        for index, attention in enumerate(cross_attentions(unet)):
            rows, columns = attention.to_k.weight.shape
            layers[str(2 * index + 1)] = nn.ModuleDict(
                {
                    "to_k_ip": nn.Linear(columns, rows, bias=False),
                    "to_v_ip": nn.Linear(columns, rows, bias=False),
                }
            )
    return layers


def _flat(groups: Mapping[str, Any]) -> dict[str, Tensor]:
    """Tensors of nested groups under names joined by dots; what is no tensor is left out."""
    flat: dict[str, Tensor] = {}
    for name, value in groups.items():
        inner = value.items() if isinstance(value, dict) else ()
        flat |= {f"{name}.{key}": each for key, each in inner if isinstance(each, Tensor)}
        if isinstance(value, Tensor):
            flat[name] = value
    return flat


def _below(tensors: Tensors, prefix: str) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {name[len(start) :]: t for name, t in tensors.items() if name.startswith(start)}


def _part(name: str, group: str) -> str:
    return f"{group} of {name}"
