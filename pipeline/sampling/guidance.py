"""Fooocus's guidance: how the two prompts' guesses become one.

Works on differences from ``x`` that are not divided by sigma.
"""

import msgspec
from torch import Tensor

from pipeline.sampling.anisotropic import anisotropic_blur

SHARPNESS_UNIT = 0.001
CFG_ONE = 1e-9  # nearer to 1 than this, the negative prompt has no say


class Guidance(msgspec.Struct, frozen=True, kw_only=True):
    """How strongly the prompts pull, and what bends the pull. The defaults are Fooocus's."""

    cfg: float = 4.0
    sharpness: float = 2.0
    adaptive_cfg: float = 7.0  # above this, cfg falls to it as the picture progresses
    adm_scaler_positive: float = 1.5  # the size the positive prompt is told, early on
    adm_scaler_negative: float = 0.8
    adm_scaler_end: float = 0.3  # the part of the way that counts as early

    @property
    def positive_only(self) -> bool:
        """Is the negative prompt left out?"""
        return abs(self.cfg - 1.0) < CFG_ONE


def sharpen(eps: Tensor, guide: Tensor, sharpness: float, progress: float) -> Tensor:
    """Blur the noise estimate off the edges of the guess, more towards the end, so detail stays."""
    amount = SHARPNESS_UNIT * sharpness * progress
    if amount == 0.0:
        return eps
    return anisotropic_blur(eps, guide) * amount + eps * (1.0 - amount)


def classifier_free(eps_positive: Tensor, eps_negative: Tensor, cfg: float) -> Tensor:
    """From the negative towards and past the positive (arXiv:2207.12598)."""
    return eps_negative + cfg * (eps_positive - eps_negative)


def adaptive(
    eps_positive: Tensor, eps_negative: Tensor, cfg: float, adaptive_cfg: float, progress: float
) -> Tensor:
    """``cfg``, mixed with ``adaptive_cfg`` while much noise is left, if ``cfg`` is the larger."""
    wanted = classifier_free(eps_positive, eps_negative, cfg)
    if cfg <= adaptive_cfg:
        return wanted
    tamed = classifier_free(eps_positive, eps_negative, adaptive_cfg)
    return progress * wanted + (1.0 - progress) * tamed


def guide(
    x: Tensor, positive: Tensor, negative: Tensor, guidance: Guidance, progress: float
) -> Tensor:
    """One clean guess from those of the two prompts; all (B, C, H, W)."""
    eps_positive = sharpen(x - positive, positive, guidance.sharpness, progress)
    eps = adaptive(eps_positive, x - negative, guidance.cfg, guidance.adaptive_cfg, progress)
    return x - eps
