"""Weights that keep their file's number format and are cast, layer by layer, while they are used.

So a float16 file takes no more than its own size on a machine without room for it in float32, and
images are computed in float32 all the same. diffusers' layerwise casting does it by hooks that cast
a layer's weights before and back after each call; here an operation casts what it uses, and LoRAs
and control networks see plain parameters.
"""

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

WORKS_IN: Final = "works_in"  # set on a module whose layers cast


def cast_at_use(module: nn.Module, dtype: torch.dtype) -> None:
    """Have every layer of ``module`` work in ``dtype`` whatever its weights are stored in.

    Weights of layers that are not of a kind known here are cast for good.
    """
    for layer in module.modules():
        kind = _KINDS.get(type(layer))
        if kind is not None:
            layer.__class__ = kind
            setattr(layer, WORKS_IN, dtype)
            continue
        for name, parameter in list(layer.named_parameters(recurse=False)):
            setattr(layer, name, nn.Parameter(parameter.to(dtype), requires_grad=False))
    setattr(module, WORKS_IN, dtype)


def working_dtype(module: Any) -> torch.dtype:
    """The number format that a module takes and gives."""
    dtype: torch.dtype = getattr(module, WORKS_IN, None) or next(module.parameters()).dtype
    return dtype


def _cast(parameter: Tensor | None, x: Tensor) -> Tensor | None:
    return None if parameter is None else parameter.to(x.dtype)


class _Linear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight.to(x.dtype), _cast(self.bias, x))


class _Conv2d(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self._conv_forward(x, self.weight.to(x.dtype), _cast(self.bias, x))
        return made


class _GroupNorm(nn.GroupNorm):
    def forward(self, x: Tensor) -> Tensor:
        weight, bias = _cast(self.weight, x), _cast(self.bias, x)
        return functional.group_norm(x, self.num_groups, weight, bias, self.eps)


class _LayerNorm(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        weight, bias = _cast(self.weight, x), _cast(self.bias, x)
        return functional.layer_norm(x, self.normalized_shape, weight, bias, self.eps)


class _Embedding(nn.Embedding):
    def forward(self, numbers: Tensor) -> Tensor:
        rows = functional.embedding(numbers, self.weight, self.padding_idx)
        return rows.to(getattr(self, WORKS_IN))


_KINDS: Final[dict[type[nn.Module], type[nn.Module]]] = {
    nn.Linear: _Linear,
    nn.Conv2d: _Conv2d,
    nn.GroupNorm: _GroupNorm,
    nn.LayerNorm: _LayerNorm,
    nn.Embedding: _Embedding,
}
