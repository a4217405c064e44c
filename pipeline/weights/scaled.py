"""Weights of eight bits with a scale beside each, as ComfyUI stores "fp8 scaled" models.

A layer has ``weight`` (float8 or int8) and ``scale_weight``, in newer files ``weight_scale``; the
weight that was quantised is their product. diffusers does not read these files. Scales of inputs
serve kernels that multiply in eight bits; here layers compute in their own number format.
"""

import json
from collections.abc import Mapping
from typing import Final, NamedTuple

import torch
from torch import Tensor

from pipeline.errors import InvalidModelFile

_SCALES: Final = (".scale_weight", ".weight_scale")
_OF_INPUTS: Final = (".scale_input", ".input_scale")
_MARKERS: Final = ("scaled_fp8",)  # an empty tensor that says how the file was made
_LAYER_FORMAT: Final = ".comfy_quant"  # JSON as bytes, in newer files
_READABLE: Final = ("float8_e4m3fn", "float8_e5m2", "int8_tensorwise")
_ROTATED: Final = "convrot"  # weights turned by a Hadamard matrix before they were rounded
_STORED: Final = torch.float16  # holds every product closer than its eight bits were rounded


class Scaled(NamedTuple):
    """The scales of a part's weights by the weight's name, and which tensors these came from."""

    scales: Mapping[str, Tensor]
    consumed: frozenset[str]

    def value(self, name: str, tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
        """The tensor in ``dtype``, multiplied by its scale if it has one.

        With None it keeps the number format of its file; a scaled one becomes float16, which takes
        memory where the others are views of the mapped file.
        """
        scale = self.scales.get(name)
        if scale is None:
            return tensor if dtype is None else tensor.to(dtype)
        blocks = (*scale.shape[:-1], -1) if scale.ndim > tensor.ndim else tensor.shape
        product = tensor.float().reshape(blocks) * scale
        return product.reshape(tensor.shape).to(dtype or _STORED)


def find_scaled(tensors: Mapping[str, Tensor], part: str) -> Scaled:
    """The scales among a part's tensors. Raises InvalidModelFile for what cannot be multiplied."""
    scales: dict[str, Tensor] = {}
    consumed = {name for name in tensors if name in _MARKERS or name.endswith(_OF_INPUTS)}
    for name, tensor in tensors.items():
        if name.endswith(_LAYER_FORMAT):
            _check_format(tensor, name, part)
            consumed.add(name)
        elif name.endswith(_SCALES):
            weight = f"{name.rpartition('.')[0]}.weight"
            scales[weight] = _fitting(tensor.float(), tensors.get(weight), name, part)
            consumed.add(name)
    return Scaled(scales, frozenset(consumed))


def _fitting(scale: Tensor, weight: Tensor | None, name: str, part: str) -> Tensor:
    """A scale as it multiplies its weight: of the whole, of each row, or of blocks of a row."""
    if weight is not None:
        rows = weight.shape[0] if weight.ndim else 1
        if scale.numel() == 1:
            return scale.reshape(())
        if scale.numel() == rows:
            return scale.reshape(rows, *[1] * (weight.ndim - 1))
        in_blocks = scale.ndim == 3 and weight.ndim == 2 and scale.shape[::2] == (rows, 1)
        if in_blocks and weight.shape[1] % scale.shape[1] == 0:
            return scale
    raise InvalidModelFile(
        f"the {part} is quantised in a way that is not read here: {name} is {list(scale.shape)}"
        f" for a weight of {'nothing' if weight is None else list(weight.shape)}; use the model's"
        " fp16 file"
    )


def _check_format(tensor: Tensor, name: str, part: str) -> None:
    """Raise InvalidModelFile unless the layer's product is its weight."""
    try:
        told = json.loads(bytes(tensor.to(torch.uint8).flatten().tolist()))
        readable = told.get("format") in _READABLE and not told.get(_ROTATED)
    except (ValueError, AttributeError) as error:
        raise InvalidModelFile(f"the {part} is damaged: {name} is no JSON") from error
    if not readable:
        raise InvalidModelFile(
            f"the {part} is quantised in a way that is not read here ({name}:"
            f" {told.get('format')}); use the model's fp16 file"
        )
