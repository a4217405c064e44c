"""From a network and two prompts to the function that samplers call."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
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

    The seam for engines: ``UNet.use`` puts another implementation of the same weights in place. B
    varies from call to call: with the prompts, and with the images of a batch that are left.
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
    """Encoded prompts: ``context`` (B, T, D) and ``pooled`` (B, P). B is 1 where all images of a
    batch share one."""

    context: Tensor
    pooled: Tensor

    def of_rows(self, rows: Sequence[int]) -> "Conditioning":
        """Those of some images of a batch."""
        if self.context.shape[0] == 1:
            return self
        index = torch.tensor(rows, device=self.context.device)
        return Conditioning(self.context[index], self.pooled[index])


def stacked(prompts: Sequence[Conditioning]) -> Conditioning:
    """The prompts (each of one row) of a batch, in one; they ``share_a_call``."""
    first = prompts[0]
    if all(each is first for each in prompts):
        return first
    return Conditioning(
        _same_length([each.context for each in prompts]),
        torch.cat([each.pooled for each in prompts]),
    )


def share_a_call(prompts: Sequence[Conditioning]) -> bool:
    """Whether repeating the prompts to one length is cheaper than another call."""
    return _repeats(prompts) <= MAX_REPEATS


@dataclass(frozen=True, slots=True)
class Denoiser:
    """The guided guess of the clean latents of a batch, float32 on the device of ``x``."""

    unet: UNetCall
    model_sampling: ModelSampling
    positive: Conditioning
    negative: Conditioning
    guidance: Guidance
    sizes: SizeConditioning

    def of_rows(self, rows: Sequence[int]) -> "Denoiser":
        """The denoiser of some images of the batch."""
        return replace(
            self, positive=self.positive.of_rows(rows), negative=self.negative.of_rows(rows)
        )

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
        if not share_a_call((self.positive, self.negative)):
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
            context=_same_length([_for_each(each.context, batch) for each in chosen]),
            pooled=torch.cat([_for_each(each.pooled, batch) for each in chosen]),
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


def _for_each(rows: Tensor, batch: int) -> Tensor:
    """(1 or ``batch``, ...) as (``batch``, ...)."""
    return rows.expand(batch, *rows.shape[1:])


def _repeats(prompts: Sequence[Conditioning]) -> int:
    """How often the shortest prompt is repeated until all have the same length."""
    lengths = [each.context.shape[1] for each in prompts]
    return math.lcm(*lengths) // min(lengths)


def _same_length(contexts: list[Tensor]) -> Tensor:
    """Contexts repeated along tokens to one length, which does not change attention's result."""
    length = math.lcm(*(each.shape[1] for each in contexts))
    return torch.cat([each.repeat(1, length // each.shape[1], 1) for each in contexts])
