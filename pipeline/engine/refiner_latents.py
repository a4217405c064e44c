"""Splits the steps between an SDXL base and an SD 1.5 refiner, whose latent spaces differ.

Such a refiner can take over from a clean latent only, whatever swap method is asked for. An image
that begins from another one is made by the base or by the refiner alone, as in Fooocus.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Literal, NamedTuple

import torch
from torch import Tensor

from pipeline.models.refiner import Refiner
from pipeline.models.vae import Vae
from pipeline.request.plan import ImagePlan
from pipeline.sampling.diffusion import NetworkDenoise
from pipeline.sampling.refiner import RefinerSwap

FULL_DENOISE: Final = 0.9  # above it both sample
_KARRAS_BEND: Final = 0.834  # exponent from the share of steps left to the share of noise left

Split = Literal["both", "base", "refiner"]


class SplitRun(NamedTuple):
    """A swap, and its initial latent in the latents of its first network."""

    swap: RefinerSwap
    latent: Tensor | None


def in_their_latents(
    plans: Sequence[ImagePlan],
    swap: RefinerSwap,
    latent: Tensor | None,
    base_vae: Vae,
    refiner: Refiner,
) -> SplitRun:
    """``swap`` as the two networks can run it; unchanged where they share their latents.

    Latents are those of the plans, or one for all of them.
    """
    bridge = refiner.bridge
    if bridge is None:
        return SplitRun(swap, latent)

    def convert(latents: Tensor) -> Tensor:
        rows = latents.expand(len(plans), *latents.shape[1:])
        pairs = zip(rows, plans, strict=True)
        return torch.cat([bridge.convert(row[None], base_vae, plan.seed) for row, plan in pairs])

    split = split_of(plans[0])
    if split == "both":
        return SplitRun(replace(swap, method="vae", convert=convert), latent)
    if split == "base":
        return SplitRun(_alone(swap, swap.base), latent)
    converted = replace(swap, convert=convert).in_refiner_latents()
    return SplitRun(_alone(converted, swap.refiner), None if latent is None else convert(latent))


def final_vae(plan: ImagePlan, base_vae: Vae, refiner: Refiner | None) -> Vae:
    """The VAE of the finished latent."""
    if refiner is None or refiner.bridge is None or split_of(plan) == "base":
        return base_vae
    return refiner.bridge.vae


def split_of(plan: ImagePlan) -> Split:
    """Which of the two sample an image."""
    settings = plan.sampling
    if plan.switch >= settings.steps:
        return "base"
    if settings.denoise > FULL_DENOISE:
        return "both"
    left = (settings.steps - plan.switch) / settings.steps
    return "base" if settings.denoise > left**_KARRAS_BEND else "refiner"


def _alone(swap: RefinerSwap, network: NetworkDenoise) -> RefinerSwap:
    return replace(swap, base=network, refiner=network, method="joint", convert=None)
