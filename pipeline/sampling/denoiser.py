"""From a network and two prompts to the one function samplers call."""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pipeline.request.sampling import Guidance
from pipeline.sampling.adm import RefinerSizes, SdxlSizes
from pipeline.sampling.guidance import guide, positive_only
from pipeline.sampling.parametrisation import ModelSampling

MAX_REPEATS = 4  # a prompt longer than this many times the other is not padded by repeating


@dataclass(frozen=True, slots=True)
class NetworkInput:
    """What a network is asked: B rows, float32, on one device; ``sigma`` is their noise level."""

    x: Tensor  # (B, 4, h, w), scaled as the network expects
    timestep: Tensor  # (B,)
    context: Tensor  # (B, T, D)
    pooled: Tensor  # (B, P)
    time_ids: Tensor  # (B, 6), of an SDXL refiner (B, 5)
    sigma: float
    positive: tuple[bool, ...]  # of each row: is it the positive prompt's?


class UNetCall(Protocol):
    """A network of whatever dtype, or one that is steered by something else on the way.

    What steers (a control, an image prompt) wraps another ``UNetCall``, so a picture's steering
    ends with the picture.
    """

    def __call__(self, given: NetworkInput, /) -> Tensor:
        """The noise prediction (B, 4, h, w), float32, on the input's device."""


@dataclass(frozen=True, slots=True)
class Conditioning:
    """One encoded prompt: ``context`` (1, T, D) and ``pooled`` (1, P)."""

    context: Tensor
    pooled: Tensor


@dataclass(frozen=True, slots=True)
class Denoiser:
    """The guided guess of the clean latent for one picture, float32 on the device of ``x``.

    ``width`` and ``height`` are the latent's times 8.
    """

    unet: UNetCall
    model_sampling: ModelSampling
    positive: Conditioning
    negative: Conditioning
    guidance: Guidance
    width: int
    height: int
    refiner: bool = False  # an SDXL refiner is told other sizes

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The guess at noise level ``sigma`` (0-d, CPU)."""
        if positive_only(self.guidance):
            (only,) = self.predict(x, sigma, (True,))
            return only
        negative, positive = self.predict_both(x, sigma)
        progress = self.model_sampling.progress(sigma)
        return guide(x, positive, negative, self.guidance, progress)

    def predict_both(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """The guesses for (negative, positive), in one call if the prompts can share it."""
        if _repeats(self.positive, self.negative) > MAX_REPEATS:
            (positive,) = self.predict(x, sigma, (True,))
            (negative,) = self.predict(x, sigma, (False,))
            return negative, positive
        negative, positive = self.predict(x, sigma, (False, True))
        return negative, positive

    def predict(self, x: Tensor, sigma: Tensor, prompts: tuple[bool, ...]) -> tuple[Tensor, ...]:
        """The guess for each prompt, True for the positive one, in one call of the network."""
        sampling, batch, count = self.model_sampling, x.shape[0], len(prompts)
        timestep = sampling.timestep(sigma)
        chosen = [self.positive if prompt else self.negative for prompt in prompts]
        given = NetworkInput(
            x=torch.cat([sampling.model_input(x, sigma)] * count),
            timestep=timestep.to(x.device).expand(batch * count),
            context=_same_length([each.context for each in chosen]).repeat_interleave(batch, 0),
            pooled=torch.cat([each.pooled for each in chosen]).repeat_interleave(batch, 0),
            time_ids=self._time_ids(x, float(timestep), prompts).repeat_interleave(batch, 0),
            sigma=float(sigma),
            positive=tuple(prompt for prompt in prompts for _ in range(batch)),
        )
        output = self.unet(given)
        return tuple(sampling.denoised(x, each, sigma) for each in output.float().chunk(count))

    def _time_ids(self, x: Tensor, timestep: float, prompts: tuple[bool, ...]) -> Tensor:
        sizes: SdxlSizes | RefinerSizes
        if self.refiner:
            sizes = RefinerSizes(self.width, self.height)
        else:
            sizes = SdxlSizes(self.width, self.height, self.guidance)
        scaled = sizes.scaled_at(timestep)
        rows = [sizes.ids(positive=prompt, scaled=scaled) for prompt in prompts]
        return torch.tensor(rows, dtype=torch.float32, device=x.device)


def _repeats(one: Conditioning, other: Conditioning) -> int:
    """How often the shorter prompt would be repeated to be as long as the other's repeats."""
    lengths = (one.context.shape[1], other.context.shape[1])
    return math.lcm(*lengths) // min(lengths)


def _same_length(contexts: list[Tensor]) -> Tensor:
    """Contexts repeated along tokens to one length, which leaves attention's result as it was."""
    length = math.lcm(*(each.shape[1] for each in contexts))
    return torch.cat([each.repeat(1, length // each.shape[1], 1) for each in contexts])
