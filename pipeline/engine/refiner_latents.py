"""Who makes which part of a picture where the refiner has other latents (Stable Diffusion 1.5).

Such a refiner takes over through the picture only, whatever method is asked for, and of a picture
that begins from another one either the model or the refiner makes all, as in Fooocus.
"""

from dataclasses import replace
from typing import Literal, NamedTuple

from torch import Tensor

from pipeline.models.checkpoint import Checkpoint
from pipeline.models.refiner import Refiner
from pipeline.models.vae import Vae
from pipeline.request.plan import ImagePlan
from pipeline.sampling.diffusion import NetworkDenoise
from pipeline.sampling.refiner import RefinerSwap

FULL_DENOISE = 0.9  # above it both have their part
_KARRAS_BEND = 0.834  # how the share of steps left turns into a share of noise left

Turns = Literal["both", "model", "refiner"]


class Handover(NamedTuple):
    """A swap, and the latent that it begins from in the latents of its first network."""

    swap: RefinerSwap
    latent: Tensor | None


def hand_over(
    plan: ImagePlan,
    swap: RefinerSwap,
    latent: Tensor | None,
    checkpoint: Checkpoint,
    refiner: Refiner,
) -> Handover:
    """``swap`` as that refiner can run it; unchanged where the two share their latents."""
    bridge = refiner.bridge
    if bridge is None:
        return Handover(swap, latent)

    def convert(each: Tensor) -> Tensor:
        return bridge.convert(each, checkpoint.vae, plan.seed)

    turns = turns_of(plan)
    if turns == "both":
        return Handover(replace(swap, method="vae", convert=convert), latent)
    if turns == "model":
        return Handover(_alone(swap, swap.base), latent)
    moved = replace(swap, convert=convert).in_refiner_latents()
    return Handover(_alone(moved, swap.refiner), None if latent is None else convert(latent))


def last_vae(plan: ImagePlan, checkpoint: Checkpoint, refiner: Refiner | None) -> Vae:
    """The VAE of the finished latent."""
    if refiner is None or refiner.bridge is None or turns_of(plan) == "model":
        return checkpoint.vae
    return refiner.bridge.vae


def turns_of(plan: ImagePlan) -> Turns:
    """Who has a part in a picture with such a refiner."""
    if plan.switch >= plan.sampling.steps:
        return "model"
    if plan.sampling.denoise > FULL_DENOISE:
        return "both"
    left = (plan.sampling.steps - plan.switch) / plan.sampling.steps
    return "model" if plan.sampling.denoise > left**_KARRAS_BEND else "refiner"


def _alone(swap: RefinerSwap, network: NetworkDenoise) -> RefinerSwap:
    return replace(swap, base=network, refiner=network, method="joint", convert=None)
