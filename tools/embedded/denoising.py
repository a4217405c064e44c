"""The training step's mathematics: what the model is shown and how its answer is judged."""

import math
from typing import Final, NamedTuple

import torch
from torch import nn

from tools.embedded.dataset import LatentSet

TIMESTEPS: Final = 1000
BETA_START: Final = 0.00085
BETA_END: Final = 0.012
WARM_UP_STEPS: Final = 60

EMPTY_SHARE: Final = 0.05  # captions replaced by the empty one
ZERO_SHARE: Final = 0.07  # text embeddings replaced by zeros, as SDXL does for no negative prompt
RESCALED_SHARE: Final = 0.3  # original sizes other than the true one, as ADM guidance asks for


class Noise:
    """SDXL's noise schedule and the weight of each timestep's error."""

    def __init__(self, device: torch.device) -> None:
        roots = torch.linspace(BETA_START**0.5, BETA_END**0.5, TIMESTEPS, dtype=torch.float64)
        self.alphas = torch.cumprod(1 - roots**2, 0).float().to(device)
        snr = self.alphas / (1 - self.alphas)
        # Min-SNR-5 (Hang et al. 2023, section 3.4) for velocity: more weight where noise is high,
        # for there the layout is decided; capped, as the last timesteps would outweigh all.
        self.weights = (5 / snr).clamp(max=1) * ((snr + 1) / snr).clamp(max=8)

    def add(self, x: torch.Tensor, eps: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        alpha = self.alphas[timesteps].view(-1, 1, 1, 1)
        return alpha.sqrt() * x + (1 - alpha).sqrt() * eps


class Conditions(NamedTuple):
    """Token numbers for both text encoders, each (B, 77)."""

    first: torch.Tensor
    second: torch.Tensor


class Batch(NamedTuple):
    """What one step is made of."""

    x: torch.Tensor  # (B, 4, H/8, W/8) clean latents
    eps: torch.Tensor  # the same shape, normal noise
    timesteps: torch.Tensor  # (B,)
    tokens: Conditions
    kept: torch.Tensor  # (B,) 0 where the text embeddings become zeros
    sizes: torch.Tensor  # (B, 6) original height and width, crop, target height and width

    @classmethod
    def draw(cls, picked: LatentSet, empty: Conditions, rng: torch.Generator) -> "Batch":
        """Everything random about a step, from ``rng`` (on the CPU, so devices agree)."""
        x = picked.latents.float()
        device, count = x.device, len(x)
        turn = torch.rand(count, generator=rng)
        is_empty = (turn < EMPTY_SHARE).to(device).view(-1, 1)
        is_zero = (turn >= EMPTY_SHARE) & (turn < EMPTY_SHARE + ZERO_SHARE)
        tokens = Conditions(
            torch.where(is_empty, empty.first, picked.first_tokens),
            torch.where(is_empty, empty.second, picked.second_tokens),
        )
        # One timestep in each of B equal strata: steadier gradients than B free draws.
        strata = (torch.arange(count) + torch.rand(1, generator=rng)) / count * TIMESTEPS
        timesteps = strata.long().clamp(0, TIMESTEPS - 1)[torch.randperm(count, generator=rng)]
        eps = torch.randn(x.shape, generator=rng).to(device)
        sizes = _draw_sizes((x.shape[2] * 8, x.shape[3] * 8), count, rng)
        kept = (~is_zero).float()
        return cls(x, eps, timesteps.to(device), tokens, kept.to(device), sizes.to(device))


def denoising_loss(
    model: nn.ModuleDict, batch: Batch, noise: Noise
) -> tuple[torch.Tensor, torch.Tensor]:
    """The weighted loss, and the plain errors (2,) above and below the middle timestep (or NaN)."""
    first = model["te1"](batch.tokens.first, output_hidden_states=True)
    second = model["te2"](batch.tokens.second, output_hidden_states=True)
    context = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], -1)  # (B, 77, D)
    kept = batch.kept.to(context.dtype)
    added = {"text_embeds": second.text_embeds * kept.view(-1, 1), "time_ids": batch.sizes}
    predicted = model["unet"](
        noise.add(batch.x, batch.eps, batch.timesteps),
        batch.timesteps,
        context * kept.view(-1, 1, 1),
        added_cond_kwargs=added,
    ).sample
    errors = (predicted.float() - batch.eps).square().mean((1, 2, 3))
    loss = (errors * noise.weights[batch.timesteps]).mean() / noise.weights.mean()
    noisy = batch.timesteps > TIMESTEPS // 2
    halves = torch.stack([errors[noisy].mean(), errors[~noisy].mean()])
    return loss, halves.detach()


def learning_rate(step: int, steps: int) -> float:
    """Share of the full rate: a short warm-up, flat to the half, then a cosine down to 3 %."""
    warm = min(1.0, (step + 1) / WARM_UP_STEPS)
    share = step / steps
    if share < 0.5:
        return warm
    return warm * (0.5 * (1 + math.cos(math.pi * (share - 0.5) / 0.5)) * 0.97 + 0.03)


def _draw_sizes(size: tuple[int, int], count: int, rng: torch.Generator) -> torch.Tensor:
    height, width = size
    sizes = torch.tensor([[height, width, 0, 0, height, width]], dtype=torch.float32)
    sizes = sizes.repeat(count, 1)
    rescaled = torch.rand(count, generator=rng) < RESCALED_SHARE
    scales = torch.rand(int(rescaled.sum()), 1, generator=rng) * 1.2 + 0.5
    sizes[rescaled, :2] = (sizes[rescaled, :2] * scales).round()
    return sizes
