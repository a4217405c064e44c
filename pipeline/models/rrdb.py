"""ESRGAN's generator (arXiv:1809.00219, arXiv:2107.10833): residual-in-residual dense blocks.

Nothing is configured: a file's tensors tell the network's size and its factor. diffusers and
transformers have no ESRGAN, and Real-ESRGAN's own package brings its training code along.
"""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import InvalidModelFile
from pipeline.models.upscaler_layout import numbered
from pipeline.models.winograd import Plane, WinogradConv, from_phases, to_phases

_SLOPE: Final = 0.2  # of the activation below 0
_RESIDUAL: Final = 0.2  # of a block's result that is added to its input
_COLOURS: Final = 3
_DENSE: Final = 5  # convolutions in a dense block
_PARTS: Final = 3  # dense blocks in a block
# Pixels around a tile that the network is given too. It sees farther, but hardly depends on more.
_MARGIN: Final = 32
_WORTH_TRANSFORMING: Final = 64  # channels; with fewer, transforms cost more than they save


class Shape(NamedTuple):
    """What a file's tensors tell. The factor is 2 ** ``doublings`` / ``unshuffle``."""

    channels: int
    growth: int
    blocks: int
    doublings: int
    unshuffle: int  # pixels along a side that become channels first

    @property
    def factor(self) -> int:
        return (1 << self.doublings) // self.unshuffle


def read_shape(weights: Mapping[str, Tensor], file: str) -> Shape:
    """The network that these tensors are of. Raises InvalidModelFile."""
    channels, inputs = weights["conv_first.weight"].shape[:2]
    dense = weights.get("body.0.rdb1.conv1.weight")
    unshuffle = {_COLOURS * side * side: side for side in (1, 2, 4)}.get(inputs)
    if dense is None or unshuffle is None:
        raise InvalidModelFile(
            f"{file} is no ESRGAN upscaler of RGB pictures: its first layer takes {inputs}"
            f" channels and its first block is {'there' if dense is not None else 'missing'}"
        )
    doublings = numbered(weights, r"conv_up(\d)\.weight$")
    if (1 << doublings) < unshuffle:
        raise InvalidModelFile(f"{file} would make pictures smaller; it is no upscaler")
    blocks = numbered(weights, r"body\.(\d+)\.rdb1\.conv1\.weight$")
    return Shape(channels, dense.shape[0], blocks, doublings, unshuffle)


class Network(nn.Module):
    """The generator: features, residual-in-residual dense blocks, doublings, colours."""

    margin = _MARGIN

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.factor = shape.factor
        channels = shape.channels
        self.conv_first = _conv(_COLOURS * shape.unshuffle**2, channels)
        self.body: nn.Module = nn.Sequential(
            *(_Block(channels, shape.growth) for _ in range(shape.blocks))
        )
        self.conv_body = _conv(channels, channels)
        for number in range(1, shape.doublings + 1):
            self.add_module(f"conv_up{number}", _conv(channels, channels))
        self.conv_hr = _conv(channels, channels)
        self.conv_last = _conv(channels, _COLOURS)

    def for_cpu(self) -> "Network":
        """The same network, its body transformed where that saves time."""
        if self.shape.channels >= _WORTH_TRANSFORMING:
            self.body = _TransformedBody(self.body)
            for name, conv in self._doublings():
                if isinstance(conv, nn.Conv2d):
                    self.add_module(name, _FoldedDoubling(conv))
            for layer in self.children():  # the others are faster with channels last
                layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self

    def forward(self, x: Tensor) -> Tensor:
        """RGB (B, 3, H, W), 0...1, to (B, 3, factor*H, factor*W), about 0...1."""
        height, width = x.shape[-2:]
        features = self.conv_first(_unshuffled(x, self.shape.unshuffle))
        features = features + self.conv_body(self.body(features))
        for _, conv in self._doublings():
            if not isinstance(conv, _FoldedDoubling):
                features = functional.interpolate(features, scale_factor=2.0)
            features = _activated(conv(features))
        made: Tensor = self.conv_last(_activated(self.conv_hr(features)))
        return made[..., : height * self.factor, : width * self.factor]

    def _doublings(self) -> Iterator[tuple[str, nn.Module]]:
        for number in range(1, self.shape.doublings + 1):
            yield f"conv_up{number}", self.get_submodule(f"conv_up{number}")


class _Block(nn.Module):
    """Three dense blocks and a skip connection."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        for number in range(1, _PARTS + 1):
            self.add_module(f"rdb{number}", _Dense(channels, growth))

    def forward(self, x: Tensor) -> Tensor:
        made = x
        for part in self.children():
            made = part(made)
        return x + made * _RESIDUAL


class _Dense(nn.Module):
    """Five convolutions, each of which reads all before it, and a skip connection."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        for number in range(_DENSE):
            outputs = growth if number < _DENSE - 1 else channels
            self.add_module(f"conv{number + 1}", _conv(channels + number * growth, outputs))

    def forward(self, x: Tensor) -> Tensor:
        *convs, last = self.children()
        seen = [x]
        for conv in convs:
            seen.append(_activated(conv(torch.cat(seen, dim=1))))
        made: Tensor = last(torch.cat(seen, dim=1))
        return x + made * _RESIDUAL


class _TransformedBody(nn.Module):
    """The blocks by Winograd's convolutions: what a dense block has seen is transformed once."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                nn.ModuleList(WinogradConv(conv) for conv in dense.children())  # type: ignore[arg-type]
                for dense in block.children()
            )
            for block in body.children()
        )
        convs = (layer for layer in self.modules() if isinstance(layer, WinogradConv))
        self._seen = max(conv.weight.shape[2] for conv in convs)  # channels, by a block's last

    def forward(self, features: Tensor) -> Tensor:
        """(1, C, H, W) to the same."""
        height, width = features.shape[-2:]
        trunk = to_phases(features)
        plane = Plane(height, width, self._seen)
        for block in self.blocks:
            made = trunk.clone()
            for dense in block:  # type: ignore[attr-defined]
                *convs, last = dense
                plane.transform(made, 0)
                seen = made.shape[2]
                for conv in convs:
                    plane.transform(functional.leaky_relu_(plane.convolve(conv), _SLOPE), seen)
                    seen += conv.weight.shape[1]
                made.add_(plane.convolve(last), alpha=_RESIDUAL)
            trunk.add_(made, alpha=_RESIDUAL)
        return from_phases(trunk, height, width)


# By place in a doubled pixel and place of the two seen: which of a filter's three are summed.
_FOLD: Final = torch.tensor([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]], dtype=torch.float64)


class _FoldedDoubling(nn.Module):
    """Twice the size by the nearest pixel, then a 3x3 convolution, in one.

    A pixel of the result sees 2x2 different ones of the small picture, so each of the four places
    in a doubled pixel has a 2x2 filter of sums: 16 multiplications in place of 36.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        filters = torch.einsum("yik,xjl,ockl->yxocij", _FOLD, _FOLD, conv.weight.double())
        self._conv = nn.Conv2d(conv.in_channels, 4 * conv.out_channels, 2, padding=1)
        bias = torch.zeros(conv.out_channels) if conv.bias is None else conv.bias
        self._conv.weight = nn.Parameter(filters.flatten(0, 2).float(), requires_grad=False)
        self._conv.bias = nn.Parameter(bias.repeat(4), requires_grad=False)

    def forward(self, features: Tensor) -> Tensor:
        """(1, C, H, W) to (1, C', 2H, 2W)."""
        height, width = features.shape[-2:]
        seen = self._conv(features)  # of each 2x2 window, those over the edges too
        channels = seen.shape[1] // 4
        made = torch.empty(1, 2 * height, 2 * width, channels)
        windows = seen.permute(0, 2, 3, 1).unflatten(-1, (2, 2, channels))
        for y in (0, 1):
            for x in (0, 1):
                made[:, y::2, x::2] = windows[:, y : y + height, x : x + width, y, x]
        return made.permute(0, 3, 1, 2)


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def _activated(x: Tensor) -> Tensor:
    """Of a convolution's result, which nothing else reads: in its own memory."""
    return functional.leaky_relu_(x, _SLOPE)


def _unshuffled(x: Tensor, side: int) -> Tensor:
    """Squares of pixels as channels; the picture is extended to whole squares."""
    if side == 1:
        return x
    rows, columns = (-length % side for length in x.shape[-2:])
    return functional.pixel_unshuffle(functional.pad(x, (0, columns, 0, rows), "replicate"), side)
