"""The structure of a UNet, read from the tensor names of the original layout.

A single file brings no configuration. Distilled SDXL models (SSD-1B, Segmind Vega, KOALA) keep
SDXL's widths and leave layers out, so depth is counted and everything else is SDXL's. diffusers'
``from_single_file`` knows none of them and fetches the configuration of plain SDXL.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from torch import Tensor

from pipeline.weights.layout import Config

INPAINTING_CHANNELS: Final = 9  # of a UNet's input: latent, mask, latent of the masked picture
_INPUT_CONV: Final = "input_blocks.0.0.weight"  # (channels, input channels, 3, 3)

_TRANSFORMER: Final = re.compile(r"(.+)\.1\.transformer_blocks\.(\d+)\.")
_INPUT_BLOCK: Final = re.compile(r"input_blocks\.(\d+)\.")

Depth = int | list[int]


def unet_config_of(tensors: Mapping[str, Tensor], base: Config) -> Config:
    """``base`` with the depth and the input channels of these tensors.

    ``base`` itself where they are of its structure, or of one that cannot be counted: then loading
    tells which tensors are missing.
    """
    levels = len(base["down_block_types"])
    blocks = 1 + max((int(m[1]) for m in map(_INPUT_BLOCK.match, tensors) if m), default=-1)
    layers = blocks // levels - 1
    if layers < 1 or blocks % levels:
        return base
    found: dict[str, Any] = {"layers_per_block": layers}
    if (first := tensors.get(_INPUT_CONV)) is not None and first.shape[1:2] == (
        INPAINTING_CHANNELS,
    ):
        found["in_channels"] = INPAINTING_CHANNELS
    found |= _transformer_layers(_depths(tensors), base, layers)
    found["mid_block_type"] = _middle(tensors, base)
    changed = {key: value for key, value in found.items() if base.get(key) != value}
    return {**base, **changed} if changed else base


def _depths(names: Iterable[str]) -> dict[str, int]:
    """How many transformer blocks each layer has, by the layer's name."""
    depths: dict[str, int] = {}
    for match in map(_TRANSFORMER.match, names):
        if match:
            depths[match[1]] = max(depths.get(match[1], 0), int(match[2]) + 1)
    return depths


def _transformer_layers(depths: Mapping[str, int], base: Config, layers: int) -> dict[str, Any]:
    """diffusers' two settings of depth: on the way down, and on the way up where it differs."""
    known, levels = base.get("transformer_layers_per_block", 1), len(base["down_block_types"])
    before: list[Depth] = [known] * levels if isinstance(known, int) else list(known)

    def level(blocks: str, number: int, count: int, otherwise: Depth) -> Depth:
        own = [depths.get(f"{blocks}.{number + i}", 0) for i in range(count)]
        if not any(own):  # a level without attention; its number is of no consequence
            return otherwise
        return own[0] if len(set(own)) == 1 else own

    step = layers + 1
    down = [level("input_blocks", 1 + i * step, layers, before[i]) for i in range(levels)]
    up = [level("output_blocks", i * step, step, before[levels - 1 - i]) for i in range(levels)]
    if up == down[::-1]:
        return {} if down == before else {"transformer_layers_per_block": down}
    return {"transformer_layers_per_block": down, "reverse_transformer_layers_per_block": up}


def _middle(names: Iterable[str], base: Config) -> str | None:
    """The kind of middle block: with attention, one ResNet alone, or none."""
    parts = {name.split(".", 2)[1] for name in names if name.startswith("middle_block.")}
    if not parts:
        return None
    kind: str = base.get("mid_block_type", "UNetMidBlock2DCrossAttn")
    return kind if "1" in parts else "UNetMidBlock2D"
