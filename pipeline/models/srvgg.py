"""Real-ESRGAN's compact generator (SRVGGNetCompact of github.com/xinntao/Real-ESRGAN).

A chain of convolutions at the picture's own size, whose last one gives all new pixels at once, as
differences to the nearest pixel of the picture. realesr-general-x4v3, realesr-animevideov3 and many
more are of this kind; a CPU runs one some 30 times as fast as an ESRGAN. A file's tensors tell its
size and factor.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import InvalidModelFile
from pipeline.models.upscaler_layout import numbered
from pipeline.models.winograd_chain import WinogradChain

_COLOURS: Final = 3
_SLOPE: Final = 0.1  # of files without activations of their own; Real-ESRGAN's "leakyrelu"

_WORTH_TRANSFORMING: Final = 64  # channels, as the published networks have


class SrvggShape(NamedTuple):
    """What a file's tensors tell. ``learned``: each activation has slopes in the file."""

    channels: int
    convs: int  # between the first and the last
    factor: int
    learned: bool


def is_srvgg(weights: Mapping[str, Tensor]) -> bool:
    """Whether these names are of such a network."""
    return "body.0.weight" in weights and "conv_first.weight" not in weights


def read_srvgg(weights: Mapping[str, Tensor], file: str) -> SrvggShape:
    """The network that these tensors are of. Raises InvalidModelFile."""
    first = weights["body.0.weight"]
    places = [int(name.split(".")[1]) for name in weights if _is_conv(name, weights)]
    last = weights[f"body.{max(places, default=0)}.weight"]
    factor = round((last.shape[0] / _COLOURS) ** 0.5)
    if first.ndim != 4 or first.shape[1] != _COLOURS or factor**2 * _COLOURS != last.shape[0]:
        raise InvalidModelFile(
            f"{file} is no compact upscaler of RGB pictures: its first layer is"
            f" {list(first.shape)}, its last {list(last.shape)}; use another upscale_model"
        )
    learned = numbered(weights, r"body\.(\d+)\.weight$") > len(places)
    return SrvggShape(first.shape[0], len(places) - 2, factor, learned)


class SrvggNetwork(nn.Module):
    """The generator. Layers stand in ``body`` as files number them, activations among them."""

    def __init__(self, shape: SrvggShape) -> None:
        super().__init__()
        self.factor = shape.factor
        self.margin = shape.convs + 2  # pixels that a pixel depends on, exactly
        self._channels = channels = shape.channels
        layers: list[nn.Module] = [nn.Conv2d(_COLOURS, channels, 3, padding=1)]
        for _ in range(shape.convs):
            layers += [_activation(shape), nn.Conv2d(channels, channels, 3, padding=1)]
        outputs = _COLOURS * shape.factor**2
        layers += [_activation(shape), nn.Conv2d(channels, outputs, 3, padding=1)]
        self.body = nn.ModuleList(layers)
        self.rest: WinogradChain | None = None  # all but the first convolution, transformed

    def for_cpu(self) -> "SrvggNetwork":
        """The same network, transformed where that saves time, or else with channels last."""
        if self._channels >= _WORTH_TRANSFORMING:
            self.rest = WinogradChain(self.body[2:])
            self.body = self.body[:2]
        else:
            for layer in self.body:
                layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self

    def forward(self, x: Tensor) -> Tensor:
        """RGB (B, 3, H, W), 0...1, to (B, 3, factor*H, factor*W), about 0...1."""
        features = x
        for layer in self.body:
            features = layer(features)
        if self.rest is not None:
            features = self.rest(features)
        details = functional.pixel_shuffle(features, self.factor)
        return details + functional.interpolate(x, scale_factor=float(self.factor))


def _activation(shape: SrvggShape) -> nn.Module:
    return nn.PReLU(shape.channels) if shape.learned else nn.LeakyReLU(_SLOPE)


def _is_conv(name: str, weights: Mapping[str, Tensor]) -> bool:
    return name.startswith("body.") and name.endswith(".weight") and weights[name].ndim == 4
