"""Weights of a frozen module with a learned low-rank change, and what files call them."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.weights.layout import rename, unet_prefixes


class LowRank(nn.Module):
    """``up @ down`` for some weights of a module; it holds no weight of the module itself.

    ``up`` begins as zeros, so that at first nothing is changed.
    """

    def __init__(self, weights: Mapping[str, Tensor], rank: int) -> None:
        super().__init__()
        self.names = list(weights)
        self.up = nn.ParameterList()
        self.down = nn.ParameterList()
        for weight in weights.values():
            kernel = weight.shape[2:]
            own = min(rank, weight.shape[0], weight[0].numel())
            self.up.append(nn.Parameter(torch.zeros(weight.shape[0], own, *[1] * len(kernel))))
            down = torch.randn(own, *weight.shape[1:]) / weight[0].numel() ** 0.5
            self.down.append(nn.Parameter(down))

    def pairs(self) -> Iterable[tuple[str, Tensor, Tensor]]:
        """Name, up (out, rank, 1...) and down (rank, in, ...) of each weight."""
        return zip(self.names, self.up, self.down, strict=True)

    def changed(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The changed weights, to call the module with."""
        return {
            name: weights[name] + (up.flatten(1) @ down.flatten(1)).view_as(weights[name])
            for name, up, down in self.pairs()
        }


def matrices(module: nn.Module, prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    """Weights of linear layers and convolutions below these names."""
    return {
        name: weight
        for name, weight in module.named_parameters()
        if name.startswith(prefixes) and name.endswith(".weight") and weight.ndim > 1
    }


def original_name(name: str, config: Any) -> str:
    """A tensor of a diffusers UNet as the original checkpoint layout calls it."""
    return rename(name, tuple((new, old) for old, new in unet_prefixes(config)))
