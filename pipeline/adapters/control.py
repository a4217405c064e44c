"""ControlNets (arXiv:2302.05543): the residuals they add to a UNet, how much of them, and at which
noise levels. Strength over time and depth is Fooocus's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from pipeline.request.sizes import LATENT_FACTOR
from pipeline.sampling.denoiser import ControllableUNet, NetworkInput
from pipeline.sampling.noise_levels import NoiseLevels


class Residuals(NamedTuple):
    """What is added to a UNet: to each skip connection, from the top, and to its middle."""

    down: tuple[Tensor, ...]
    middle: Tensor


class ControlCall(Protocol):
    """A control network. It may share weights with the UNet that it controls."""

    def follow_base(self) -> None:
        """Rebind shared weights, which LoRAs may have replaced."""

    def __call__(self, given: NetworkInput, hint: Tensor, /) -> Residuals:
        """The residuals for a hint (1, 3, H, W), 0 to 1, as large as the latent's image."""


@dataclass(frozen=True, slots=True)
class Control:
    """One control of an image, at work from the first step to ``stop`` (0...1) of the way."""

    network: ControlCall
    hint: Tensor  # (1, 3, H, W), float32, 0 to 1
    weight: float
    stop: float


class ControlledUNet:
    """A ``UNetCall``: a UNet under controls, for one image. ``softness`` is 0 to 1.

    Made after the image's LoRAs are in the weights.
    """

    def __init__(
        self,
        unet: ControllableUNet,
        controls: Sequence[Control],
        softness: float,
        levels: NoiseLevels,
    ) -> None:
        self._unet = unet
        self._softness = softness
        self._working = [_Working(each, levels) for each in controls if each.weight]
        for each in self._working:
            each.control.network.follow_base()

    def __call__(self, given: NetworkInput, /) -> Tensor:
        """The output with the residuals of all controls at work at this noise level."""
        at_work = [each for each in self._working if each.last <= given.sigma]
        if not at_work:
            return self._unet(given)
        total = self._residuals(at_work[0], given)
        for each in at_work[1:]:
            more = self._residuals(each, given)
            down = tuple(a + b for a, b in zip(total.down, more.down, strict=True))
            total = Residuals(down, total.middle + more.middle)
        return self._unet(given, total.down, total.middle)

    def _residuals(self, working: "_Working", given: NetworkInput) -> Residuals:
        control = working.control
        found = control.network(given, working.hint_for(given.x))
        softened = softness_weights(len(found.down), self._softness)
        down = zip(found.down, softened, strict=True)
        return Residuals(
            tuple(each * (share * control.weight) for each, share in down),
            found.middle * control.weight,
        )


class _Working:
    """A control with the last noise level at which it works, and its hint at the latent's size."""

    def __init__(self, control: Control, levels: NoiseLevels) -> None:
        self.control = control
        self.last = levels.sigma_at(control.stop)
        self._fitted: Tensor | None = None

    def hint_for(self, x: Tensor) -> Tensor:
        """The hint for latents such as ``x``, on their device; fitted once."""
        height, width = x.shape[2] * LATENT_FACTOR, x.shape[3] * LATENT_FACTOR
        if self._fitted is None or self._fitted.shape[2:] != (height, width):
            self._fitted = fit_hint(self.control.hint, width, height).to(x.device)
        return self._fitted


def softness_weights(count: int, softness: float) -> list[float]:
    """Factor of each of ``count`` outputs, smaller the nearer to the pixels it acts.

    The first is 1 - softness; the middle block's, after the last, would be 1.
    """
    return [1.0 - softness * (1.0 - i / count) for i in range(count)]


def fit_hint(hint: Tensor, width: int, height: int) -> Tensor:
    """A hint (1, C, H, W) at that size: cropped evenly to its shape, then nearest-exact."""
    rows, columns = hint.shape[2:]
    left = round(max(0.0, columns - rows * width / height) / 2)
    top = round(max(0.0, rows - columns * height / width) / 2)
    cut = hint[:, :, top : rows - top, left : columns - left]
    return functional.interpolate(cut, size=(height, width), mode="nearest-exact")


def hint_tensor(image: Image.Image) -> Tensor:
    """An RGB image as a hint: (1, 3, H, W), float32, 0 to 1, on the CPU."""
    pixels = torch.from_numpy(np.array(image.convert("RGB")))
    return pixels.permute(2, 0, 1)[None].float() / 255.0
