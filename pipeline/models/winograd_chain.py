"""A chain of 3x3 convolutions by Winograd's filtering, one strip of the picture at a time.

Nothing transformed is read twice in a chain, so the transforms gain only while they stay in the
processor's second-level cache: a strip of four rows of tiles does, a whole picture does not.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.models.winograd import BEFORE, BOTH, OWN, SIDE, SPECTRUM, WinogradConv, to_phases

_ROWS: Final = 4  # rows of tiles in a strip; 2 and 8 take 10 to 15 % longer
_ONE: Final = 7  # the place in a spectrum of a constant: the point 1 in both directions


class WinogradChain(nn.Module):
    """Convolutions with padding 1, all but the last followed by their PReLU or leaky ReLU.

    Float32, one picture at a time.
    """

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        """Convolutions and activations by turns, from a convolution to a convolution."""
        super().__init__()
        steps: list[tuple[WinogradConv, nn.Module | None]] = []
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                steps.append((WinogradConv(layer), None))
            else:
                steps[-1] = (steps[-1][0], layer)
        self._steps = tuple(steps)
        # So that their weights are this module's.
        self.layers = nn.ModuleList(part for step in steps for part in step if part is not None)

    def forward(self, features: Tensor) -> Tensor:
        """(1, C, H, W) to (1, C', H, W)."""
        height, width = features.shape[-2:]
        strips = _to_strips(features)
        work = _Work(strips)
        spare = torch.empty_like(strips)
        for conv, activation in self._steps:
            channels = conv.bias.numel()
            if spare.shape[3] != channels:
                spare = strips.new_empty(*strips.shape[:3], channels, *strips.shape[4:])
            work.convolve(conv, activation, strips, spare)
            _clear_beyond(spare, height, width)
            strips, spare = spare, strips
        return _from_strips(strips, height, width)


class _Work:
    """The memory that each strip of each layer uses again, and what is done in it."""

    def __init__(self, strips: Tensor) -> None:
        channels, rows, columns = strips.shape[3:]
        self._half = strips.new_empty(6, SIDE, channels, rows, columns)
        self._spectrum = strips.new_empty(6, 6, channels, rows, columns)
        self._summed = strips.new_empty(SPECTRUM * channels * rows * columns)

    def convolve(
        self, conv: WinogradConv, activation: nn.Module | None, strips: Tensor, into: Tensor
    ) -> None:
        """One layer: ``strips`` (strips, 4, 4, C, rows, columns) to ``into``, of C' channels."""
        outputs = conv.weight.shape[1]
        tiles = strips.shape[4] * strips.shape[5]
        summed = self._summed[: SPECTRUM * outputs * tiles].view(SPECTRUM, outputs, tiles)
        for number in range(len(strips)):
            self._transform(strips, number)
            torch.bmm(conv.weight, self._spectrum.view(SPECTRUM, -1, tiles), out=summed)
            summed[_ONE].add_(conv.bias.view(-1, 1))
            result = into[number].view(SIDE**2, outputs, tiles)
            torch.matmul(BOTH, summed.view(SPECTRUM, -1), out=result.view(SIDE**2, -1))
            if isinstance(activation, nn.PReLU):
                result.copy_(functional.prelu(result, activation.weight))
            elif isinstance(activation, nn.LeakyReLU):
                functional.leaky_relu_(result, activation.negative_slope)

    def _transform(self, strips: Tensor, number: int) -> None:
        """A strip's spectrum, with a row from the strips above and below."""
        strip, half, spectrum = strips[number], self._half, self._spectrum
        torch.matmul(OWN, strip.view(SIDE, -1), out=half.view(6, -1))
        half[0, :, :, 1:].add_(strip[3, :, :, :-1], alpha=BEFORE)
        half[5, :, :, :-1].add_(strip[0, :, :, 1:])
        if number > 0:
            half[0, :, :, 0].add_(strips[number - 1, 3, :, :, -1], alpha=BEFORE)
        if number + 1 < len(strips):
            half[5, :, :, -1].add_(strips[number + 1, 0, :, :, 0])
        torch.matmul(OWN, half.view(6, SIDE, -1), out=spectrum.view(6, 6, -1))
        spectrum[:, 0, :, :, 1:].add_(half[:, 3, :, :, :-1], alpha=BEFORE)
        spectrum[:, 5, :, :, :-1].add_(half[:, 0, :, :, 1:])


def _to_strips(features: Tensor) -> Tensor:
    """(1, C, H, W) as (strips, 4, 4, C, rows, columns) in phases, zeros beyond."""
    phases = to_phases(functional.pad(features, (0, 0, 0, -features.shape[2] % (SIDE * _ROWS))))
    return torch.stack(torch.split(phases, _ROWS, dim=3))


def _from_strips(strips: Tensor, height: int, width: int) -> Tensor:
    count, _, _, channels, rows, columns = strips.shape
    pixels = strips.permute(3, 0, 4, 1, 5, 2)
    return pixels.reshape(1, channels, count * rows * SIDE, columns * SIDE)[..., :height, :width]


def _clear_beyond(strips: Tensor, height: int, width: int) -> None:
    """Zeros beyond the picture, as a convolution pads."""
    if right := -width % SIDE:
        strips[:, :, SIDE - right :, :, :, -1].zero_()
    for row, phases in _rows_beyond(height, strips.shape[4]):
        strips[-1, phases:, :, :, row].zero_()


def _rows_beyond(height: int, rows: int) -> Iterator[tuple[int, int]]:
    """Rows of tiles of the last strip that reach beyond, and the first of their lines that does."""
    inside = height - (-(-height // (SIDE * rows)) - 1) * SIDE * rows
    for row in range(inside // SIDE, rows):
        yield row, max(0, inside - row * SIDE)
