"""From a network and two prompts to the function that samplers call."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pipeline.request.sampling import Guidance
from pipeline.sampling.adm import SizeConditioning
from pipeline.sampling.guidance import guide, positive_only, rescaled
from pipeline.sampling.parametrisation import ModelSampling

MAX_REPEATS = 4  # the shorter prompt is repeated at most so often to share a call


@dataclass(frozen=True, slots=True)
class NetworkInput:
    """One call of a network: B rows, float32, on one device, all at noise level ``sigma``."""

    x: Tensor  # (B, C, h, w), scaled as the network expects
    timestep: Tensor  # (B,)
    context: Tensor  # (B, T, D)
    pooled: Tensor  # (B, P)
    time_ids: Tensor  # (B, 6), for an SDXL refiner (B, 5)
    sigma: float
    positive: tuple[bool, ...]  # whether each row is the positive prompt's


class UNetCall(Protocol):
    """A network of any dtype, or one wrapped in image conditions.

    Conditions (a control, an image prompt) wrap another ``UNetCall``, so they end with their image.
    """

    def __call__(self, given: NetworkInput, /) -> Tensor:
        """The network's output (B, C, h, w), float32, on the input's device."""


class ControllableUNet(Protocol):
    """A UNet that takes a control network's residuals; without them it is a ``UNetCall``.

    The seam for engines: ``UNet.use`` puts another implementation of the same weights in place.
    """

    def __call__(
        self,
        given: NetworkInput,
        down_residuals: Sequence[Tensor] | None = None,
        middle_residual: Tensor | None = None,
    ) -> Tensor:
        """The network's output (B, C, h, w), float32, on the input's device."""


@dataclass(frozen=True, slots=True)
class Conditioning:
    """One encoded prompt: ``context`` (1, T, D) and ``pooled`` (1, P)."""

    context: Tensor
    pooled: Tensor


@dataclass(frozen=True, slots=True)
class Denoiser:
    """The guided guess of the clean latent of one image, float32 on the device of ``x``."""

    unet: UNetCall
    model_sampling: ModelSampling
    positive: Conditioning
    negative: Conditioning
    guidance: Guidance
    sizes: SizeConditioning

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The guess at noise level ``sigma`` (0-d, CPU)."""
        if positive_only(self.guidance):
            (only,) = self.predict(x, sigma, (True,))
            return only
        negative, positive = self.predict_both(x, sigma)
        progress = self.model_sampling.levels.progress(sigma)
        guided = guide(x, positive, negative, self.guidance, progress)
        return self._rescaled(x, guided, positive, sigma) if self.guidance.rescale else guided

    def _rescaled(self, x: Tensor, guided: Tensor, positive: Tensor, sigma: Tensor) -> Tensor:
        """Guidance rescale works on the network's output, whatever that predicts."""
        parametrisation = self.model_sampling.parametrisation
        output = parametrisation.output(x, guided, sigma)
        of_positive = parametrisation.output(x, positive, sigma)
        output = rescaled(output, of_positive, self.guidance.rescale)
        return parametrisation.denoised(x, output, sigma)

    def predict_both(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """The guesses for (negative, positive), in one call if the prompts can share it."""
        if _repeats(self.positive, self.negative) > MAX_REPEATS:
            (positive,) = self.predict(x, sigma, (True,))
            (negative,) = self.predict(x, sigma, (False,))
            return negative, positive
        negative, positive = self.predict(x, sigma, (False, True))
        return negative, positive

    def predict(self, x: Tensor, sigma: Tensor, prompts: tuple[bool, ...]) -> tuple[Tensor, ...]:
        """The guess for each prompt (True: the positive one), in one call of the network."""
        batch, count = x.shape[0], len(prompts)
        parametrisation = self.model_sampling.parametrisation
        timestep = parametrisation.levels.timestep(sigma)
        chosen = [self.positive if prompt else self.negative for prompt in prompts]
        given = NetworkInput(
            x=torch.cat([parametrisation.model_input(x, sigma)] * count),
            timestep=timestep.to(x.device).expand(batch * count),
            context=_same_length([each.context for each in chosen]).repeat_interleave(batch, 0),
            pooled=torch.cat([each.pooled for each in chosen]).repeat_interleave(batch, 0),
            time_ids=self._time_ids(x, float(timestep), prompts).repeat_interleave(batch, 0),
            sigma=float(sigma),
            positive=tuple(prompt for prompt in prompts for _ in range(batch)),
        )
        output = self.unet(given)
        return tuple(
            parametrisation.denoised(x, each, sigma) for each in output.float().chunk(count)
        )

    def _time_ids(self, x: Tensor, timestep: float, prompts: tuple[bool, ...]) -> Tensor:
        scaled = self.sizes.scaled_at(timestep)
        rows = [self.sizes.ids(positive=prompt, scaled=scaled) for prompt in prompts]
        return torch.tensor(rows, dtype=torch.float32, device=x.device)


def _repeats(one: Conditioning, other: Conditioning) -> int:
    """How often the shorter prompt is repeated until both have the same length."""
    lengths = (one.context.shape[1], other.context.shape[1])
    return math.lcm(*lengths) // min(lengths)


def _same_length(contexts: list[Tensor]) -> Tensor:
    """Contexts repeated along tokens to one length, which does not change attention's result."""
    length = math.lcm(*(each.shape[1] for each in contexts))
    return torch.cat([each.repeat(1, length // each.shape[1], 1) for each in contexts])
