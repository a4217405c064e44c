"""Train the VAE on drawn pictures, and whiten its latents so that SDXL's scaling is right."""

import copy
import logging
import math
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import nn
from torch.nn import functional

from tools.embedded.architecture import LATENT_CHANNELS, SCALING_FACTOR, build_vae
from tools.embedded.dataset import Pixels, as_tensor

log = logging.getLogger(__name__)

RATE: Final = 2e-3
EMA_DECAY: Final = 0.997
# Share of the run from which on crops have this side, and how many make a batch.
STAGES: Final = ((0.88, 256, 2), (0.62, 128, 5), (0.0, 64, 16))
SAVE_STEPS: Final = 200
POSTERIOR_STD: Final = 0.08  # of the exported VAE, in unscaled latents
HELD_BACK: Final = 32  # pictures kept for the check


class VaePlan(NamedTuple):
    """What to train on and how long; the run goes on from ``checkpoint`` if it is there."""

    pictures: Path  # (N, 256, 256, 3) bytes
    checkpoint: Path
    steps: int
    seed: int = 0


def train_vae(plan: VaePlan) -> None:
    """Train up to ``plan.steps`` in all."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(plan.seed)
    pixels = np.load(plan.pictures, mmap_mode="r")
    vae = build_vae().to(device, memory_format=torch.channels_last)
    average = copy.deepcopy(vae).eval()
    optimiser = torch.optim.AdamW(vae.parameters(), RATE, betas=(0.9, 0.99), weight_decay=1e-4)
    step = 0
    if plan.checkpoint.exists():
        state = torch.load(plan.checkpoint, map_location=device)
        vae.load_state_dict(state["m"])
        average.load_state_dict(state["e"])
        optimiser.load_state_dict(state["o"])
        step = state["n"]
    while step < plan.steps:
        for group in optimiser.param_groups:
            group["lr"] = _rate(step, plan.steps)
        rng = np.random.default_rng((plan.seed, step))
        x = as_tensor(_crops(pixels[:-HELD_BACK], step / plan.steps, rng)).to(device)
        loss = _vae_loss(vae, x, step)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        step += 1
        _follow(average, vae, min(EMA_DECAY, (step + 1) / (step + 20)))
        if step % SAVE_STEPS == 0 or step == plan.steps:
            log.info("step %d/%d: loss %.4f", step, plan.steps, loss.item())
            state = {"m": vae.state_dict(), "e": average.state_dict(), "n": step}
            _save(state | {"o": optimiser.state_dict()}, plan.checkpoint)


def export_vae(plan: VaePlan, folder: Path) -> float:
    """Whiten the averaged VAE, write it in float16; returns its PSNR in dB on unseen pictures."""
    vae = build_vae().eval()
    vae.load_state_dict(torch.load(plan.checkpoint, map_location="cpu")["e"])
    pixels = np.load(plan.pictures, mmap_mode="r")
    whiten_latents(vae, np.array(pixels[: min(240, len(pixels) - HELD_BACK)]))
    vae.half().save_pretrained(folder, safe_serialization=True)
    return psnr(vae.float(), np.array(pixels[-HELD_BACK:]))


@torch.no_grad()
def whiten_latents(vae: AutoencoderKL, pixels: Pixels) -> None:
    """Turn the latents' axes to their principal ones and scale each to what SDXL expects.

    The change sits in the 1x1 convolutions around the latents, so pictures stay the same.
    """
    means = [
        vae.encode(as_tensor(pixels[i : i + 8])).latent_dist.mode()
        for i in range(0, len(pixels), 8)
    ]
    z = torch.cat(means).permute(1, 0, 2, 3).reshape(LATENT_CHANNELS, -1).double()
    mean = z.mean(1)
    variances, axes = torch.linalg.eigh(torch.cov(z))
    variances, axes = variances.flip(0), axes.flip(1)  # the largest first
    whiten = axes.T / variances.sqrt()[:, None] / SCALING_FACTOR
    restore = axes * variances.sqrt()[None] * SCALING_FACTOR
    into, out = vae.quant_conv, vae.post_quant_conv
    weight = into.weight[:LATENT_CHANNELS, :, 0, 0].double()
    bias = into.bias[:LATENT_CHANNELS].double()
    into.weight[:LATENT_CHANNELS, :, 0, 0] = (whiten @ weight).float()
    into.bias[:LATENT_CHANNELS] = (whiten @ (bias - mean)).float()
    into.weight[LATENT_CHANNELS:] = 0
    into.bias[LATENT_CHANNELS:] = 2 * math.log(POSTERIOR_STD / SCALING_FACTOR)
    weight = out.weight[:, :, 0, 0].double()
    out.bias += (weight @ mean).float()
    out.weight[:, :, 0, 0] = (weight @ restore).float()


@torch.no_grad()
def psnr(vae: AutoencoderKL, pixels: Pixels) -> float:
    x = as_tensor(pixels)
    y = vae.decode(vae.encode(x).latent_dist.mode()).sample.clamp(-1, 1)
    return float(-10 * torch.log10(((x - y) / 2).square().mean()))


def _vae_loss(vae: AutoencoderKL, x: torch.Tensor, step: int) -> torch.Tensor:
    with torch.autocast(x.device.type, torch.bfloat16):
        posterior = vae.encode(x).latent_dist
    mean, log_variance = posterior.mean.float(), posterior.logvar.float()
    z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
    with torch.autocast(x.device.type, torch.bfloat16):
        y = vae.decode(z).sample
    error = y.float() - x
    across = (error[..., 1:] - error[..., :-1]).abs().mean()
    down = (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
    # Early on the latents are tied to the average colour: that starts a small VAE off well.
    tie = (mean[:, :3] - 2 * functional.avg_pool2d(x, 8)).abs().mean()
    loss: torch.Tensor = error.abs().mean() + 0.7 * error.square().mean() + 0.4 * (across + down)
    loss += 3e-4 * kl + max(0.03, 1 - step / 500) * tie
    return loss


def _crops(pixels: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    """Square crops for this share of the run; small ones are chosen for having content."""
    side, count = next((side, count) for start, side, count in STAGES if share >= start)
    return np.stack([_crop(pixels, side, rng) for _ in range(count)])


def _crop(pixels: Pixels, side: int, rng: np.random.Generator) -> Pixels:
    best, best_score = None, -1.0
    for _ in range(1 if side == pixels.shape[1] else 3):
        top, left = rng.integers(0, pixels.shape[1] - side + 1, 2)
        crop = pixels[rng.integers(len(pixels)), top : top + side, left : left + side]
        score = float(crop[::4, ::4].std()) * (1 + 0.3 * rng.random())
        if score > best_score:
            best, best_score = crop, score
    chosen = np.array(best, np.uint8)
    return chosen[:, ::-1] if rng.random() < 0.5 else chosen


def _rate(step: int, steps: int) -> float:
    warm = min(1.0, (step + 1) / 30)
    return RATE * warm * (0.5 * (1 + math.cos(math.pi * step / steps)) * 0.97 + 0.03)


@torch.no_grad()
def _follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)


def _save(state: dict[str, object], path: Path) -> None:
    unfinished = path.with_suffix(".part")
    torch.save(state, unfinished)
    unfinished.replace(path)
