"""Upscaling networks of the ESRGAN family (arXiv:1809.00219, arXiv:2107.10833), run in tiles.

Nothing is configured: a file's tensors tell the network's size and its factor.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import InvalidModelFile
from pipeline.models.upscaler_layout import named_weights, numbered
from pipeline.weights.tensors import fill, read_values

Pixels = NDArray[np.uint8]
OnTile = Callable[[int, int], None]
"""(tiles done, tiles in all); may raise to end the work."""

TILE: Final = 256  # pixels of a tile's side, of the picture that goes in
MARGIN: Final = 32  # pixels around a tile that the network sees too
_SLOPE: Final = 0.2  # of the activation below 0
_RESIDUAL: Final = 0.2  # how much of a block's result is added to what went in
_COLOURS: Final = 3
_DENSE: Final = 5  # convolutions in a dense block
_PARTS: Final = 3  # dense blocks in a block


class Shape(NamedTuple):
    """What a file's tensors tell. The factor is 2 ** ``doublings`` / ``unshuffle``."""

    channels: int
    growth: int
    blocks: int
    doublings: int
    unshuffle: int  # pixels that become channels first, along a side

    @property
    def factor(self) -> int:
        return (1 << self.doublings) // self.unshuffle


class Upscaler:
    """Makes pictures ``factor`` times as large, on the device of its network. One thread only."""

    def __init__(self, network: "Network", tile: int = TILE) -> None:
        self.factor = network.shape.factor
        self._network = network
        self._tile = tile

    @torch.inference_mode()
    def __call__(self, pixels: Pixels, on_tile: OnTile | None = None) -> Pixels:
        """RGB pixels (H, W, 3) as (factor*H, factor*W, 3); levels are truncated."""
        height, width, _ = pixels.shape
        made = np.empty((height * self.factor, width * self.factor, _COLOURS), np.uint8)
        tiles = [
            (top, left)
            for top in range(0, height, self._tile)
            for left in range(0, width, self._tile)
        ]
        for done, (top, left) in enumerate(tiles):
            if on_tile is not None:
                on_tile(done, len(tiles))
            part = self._upscaled(pixels, top, left)
            y, x = top * self.factor, left * self.factor
            made[y : y + part.shape[0], x : x + part.shape[1]] = part
        return made

    def _upscaled(self, pixels: Pixels, top: int, left: int) -> Pixels:
        """One tile, upscaled with its margin, which is cut off again."""
        seen_top, seen_left = max(0, top - MARGIN), max(0, left - MARGIN)
        bottom, right = top + self._tile + MARGIN, left + self._tile + MARGIN
        seen = torch.from_numpy(pixels[seen_top:bottom, seen_left:right].copy())
        weight = self._network.conv_first.weight
        x = seen.permute(2, 0, 1)[None].to(weight.device).to(weight.dtype) / 255.0
        made = self._network(x)[0].float().clamp(0.0, 1.0) * 255.0
        y, x0 = (top - seen_top) * self.factor, (left - seen_left) * self.factor
        height = min(self._tile, pixels.shape[0] - top) * self.factor
        width = min(self._tile, pixels.shape[1] - left) * self.factor
        made = made[:, y : y + height, x0 : x0 + width]
        return made.to(torch.uint8).permute(1, 2, 0).cpu().numpy()  # type: ignore[no-any-return]


def load_upscaler(path: Path, device: torch.device | str = "cpu") -> Upscaler:
    """Read a network in torch's own format or safetensors, in whatever layout, as float32.

    Raises InvalidModelFile.
    """
    values = read_values(path, "upscaler")
    weights = named_weights(values, path.name)
    with torch.device("meta"):
        network = Network(read_shape(weights, path.name))
    fill(network, weights, f"upscaler {path.name}", torch.float32)
    return Upscaler(network.to(device))


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

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        channels = shape.channels
        self.conv_first = _conv(_COLOURS * shape.unshuffle**2, channels)
        self.body = nn.Sequential(*(_Block(channels, shape.growth) for _ in range(shape.blocks)))
        self.conv_body = _conv(channels, channels)
        for number in range(1, shape.doublings + 1):
            self.add_module(f"conv_up{number}", _conv(channels, channels))
        self.conv_hr = _conv(channels, channels)
        self.conv_last = _conv(channels, _COLOURS)

    def forward(self, x: Tensor) -> Tensor:
        """RGB (B, 3, H, W), 0...1, to (B, 3, factor*H, factor*W), about 0...1."""
        height, width = x.shape[-2:]
        features = self.conv_first(_unshuffled(x, self.shape.unshuffle))
        features = features + self.conv_body(self.body(features))
        for conv in self._doublings():
            features = _bent(conv(functional.interpolate(features, scale_factor=2.0)))
        made: Tensor = self.conv_last(_bent(self.conv_hr(features)))
        return made[..., : height * self.shape.factor, : width * self.shape.factor]

    def _doublings(self) -> Iterator[nn.Module]:
        for number in range(1, self.shape.doublings + 1):
            yield self.get_submodule(f"conv_up{number}")


class _Block(nn.Module):
    """Three dense blocks, and what went in."""

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
    """Five convolutions, each of which sees all before it, and what went in."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        for number in range(_DENSE):
            outputs = growth if number < _DENSE - 1 else channels
            self.add_module(f"conv{number + 1}", _conv(channels + number * growth, outputs))

    def forward(self, x: Tensor) -> Tensor:
        *convs, last = self.children()
        seen = [x]
        for conv in convs:
            seen.append(_bent(conv(torch.cat(seen, dim=1))))
        made: Tensor = last(torch.cat(seen, dim=1))
        return x + made * _RESIDUAL


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def _bent(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, _SLOPE)


def _unshuffled(x: Tensor, side: int) -> Tensor:
    """Squares of pixels as channels; the picture is drawn out to whole squares."""
    if side == 1:
        return x
    rows, columns = (-length % side for length in x.shape[-2:])
    return functional.pixel_unshuffle(functional.pad(x, (0, columns, 0, rows), "replicate"), side)
