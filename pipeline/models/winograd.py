"""3x3 convolutions by Winograd's minimal filtering F(4x4, 3x3) (arXiv:1509.09308), for CPUs.

A 4x4 tile of the result takes 36 multiplications for each pair of channels, where the plain sum
takes 144. torch has no such convolution for float32: oneDNN's is the plain one, and NNPACK's fails
with one thread. What is transformed once serves every layer that reads it, so the dense blocks of
an ESRGAN gain most: bench/upscalers.py has the figures.

Features lie in phases, (4, 4, C, rows, columns): pixel (4r + i, 4c + j) is at [i, j, :, r, c]. So
a tile's neighbours are other planes, and nothing is gathered. Float32 only; results agree with
``conv2d`` to about 1e-5 of the largest value.
"""

from typing import Final

import torch
from torch import Tensor, nn

SIDE: Final = 4  # of a tile of the result
SPECTRUM: Final = 36  # values of a transformed 6x6 tile

# The points 0, 1, -1, 2, -2 and infinity give these transforms of data, filter and result.
_DATA: Final = torch.tensor(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    dtype=torch.float32,
)
_FILTER: Final = torch.tensor(
    [
        [6, 0, 0],
        [-4, -4, -4],
        [-4, 4, -4],
        [1, 2, 4],
        [1, -2, 4],
        [0, 0, 24],
    ],
    dtype=torch.float64,
).div(24)
_RESULT: Final = torch.tensor(
    [
        [1, 1, 1, 1, 1, 0],
        [0, 1, -1, 2, -2, 0],
        [0, 1, 1, 4, 4, 0],
        [0, 1, -1, 8, -8, 1],
    ],
    dtype=torch.float32,
)
OWN: Final = _DATA[:, 1:5].contiguous()  # what a tile's own four rows or columns contribute
BEFORE: Final = 4.0  # of the last row of the tile before, to the first transformed one
BOTH: Final = torch.kron(_RESULT, _RESULT)


class WinogradConv(nn.Module):
    """A 3x3 convolution with padding 1, run by a ``Plane``."""

    weight: Tensor
    """The filters' transform, (36, outputs, inputs)."""
    bias: Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        filters = torch.einsum("ij,ocjk,lk->iloc", _FILTER, conv.weight.double(), _FILTER)
        self.register_buffer("weight", filters.reshape(SPECTRUM, *conv.weight.shape[:2]).float())
        self.register_buffer("bias", conv.bias)


class Plane:
    """Features of one size on their way through layers, and the memory that each layer uses again.

    Fresh memory for every layer would cost as much as its arithmetic, as the system clears pages.
    """

    def __init__(self, height: int, width: int, channels: int) -> None:
        """``channels`` are kept transformed at once, and are the most that a layer gives."""
        self._rows, self._columns = -(-height // SIDE), -(-width // SIDE)
        self._beyond = (-height % SIDE, -width % SIDE)
        tiles = self._rows * self._columns
        self._spectrum = torch.empty(6, 6, channels, self._rows, self._columns)
        self._half = torch.empty(6 * SIDE * channels * tiles)
        self._summed = torch.empty(SPECTRUM * channels * tiles)
        self._result = torch.empty(SIDE**2 * channels * tiles)

    def transform(self, phases: Tensor, first: int) -> None:
        """Have features (4, 4, C, rows, columns) as the kept channels from ``first`` on."""
        channels = phases.shape[2]
        half = _product(OWN, phases.reshape(SIDE, -1), self._half)
        half = half.view(6, SIDE, channels, self._rows, self._columns)
        half[0, :, :, 1:].add_(phases[3, :, :, :-1], alpha=BEFORE)
        half[5, :, :, :-1].add_(phases[0, :, :, 1:])
        kept = self._spectrum[:, :, first : first + channels]
        torch.matmul(OWN, half.view(6, SIDE, -1), out=kept.flatten(2))
        kept[:, 0, :, :, 1:].add_(half[:, 3, :, :, :-1], alpha=BEFORE)
        kept[:, 5, :, :, :-1].add_(half[:, 0, :, :, 1:])

    def convolve(self, conv: WinogradConv) -> Tensor:
        """The layer's result from the first of the kept channels, (4, 4, C', rows, columns).

        Zeros stand beyond the features, as a convolution pads. Valid until the next call.
        """
        outputs, inputs = conv.weight.shape[1:]
        spectrum = self._spectrum.view(SPECTRUM, -1, self._rows * self._columns)
        summed = self._summed[: outputs * spectrum[:, 0].numel()].view(SPECTRUM, outputs, -1)
        torch.bmm(conv.weight, spectrum[:, :inputs], out=summed)
        result = _product(BOTH, summed.view(SPECTRUM, -1), self._result)
        phases = result.view(SIDE, SIDE, outputs, self._rows, self._columns)
        phases.add_(conv.bias.view(-1, 1, 1))
        below, right = self._beyond
        if below:
            phases[SIDE - below :, :, :, -1].zero_()
        if right:
            phases[:, SIDE - right :, :, :, -1].zero_()
        return phases


def to_phases(features: Tensor) -> Tensor:
    """(1, C, H, W) in phases, with zeros up to whole tiles."""
    height, width = features.shape[-2:]
    padded = nn.functional.pad(features, (0, -width % SIDE, 0, -height % SIDE))
    channels, rows, columns = padded.shape[1], padded.shape[2] // SIDE, padded.shape[3] // SIDE
    tiles = padded.reshape(channels, rows, SIDE, columns, SIDE)
    return tiles.permute(2, 4, 0, 1, 3).contiguous()


def from_phases(phases: Tensor, height: int, width: int) -> Tensor:
    """The features (1, C, H, W), without what lies beyond them."""
    channels, rows, columns = phases.shape[2:]
    tiles = phases.permute(2, 3, 0, 4, 1).reshape(1, channels, SIDE * rows, SIDE * columns)
    return tiles[..., :height, :width]


def _product(matrix: Tensor, values: Tensor, memory: Tensor) -> Tensor:
    """``matrix @ values``, written into the beginning of ``memory``."""
    shape = (matrix.shape[0], values.shape[1])
    return torch.matmul(matrix, values, out=memory[: shape[0] * shape[1]].view(shape))
