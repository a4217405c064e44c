"""Fooocus's guidance: combines the guesses of the positive and the negative prompt.

Works on ``x - guess``, the noise estimate times sigma.
"""

from torch import Tensor

from pipeline.request.sampling import Guidance
from pipeline.sampling.anisotropic import anisotropic_blur

SHARPNESS_UNIT = 0.001
CFG_ONE = 1e-9  # nearer to 1 than this, the negative prompt has no say


def positive_only(guidance: Guidance) -> bool:
    """Whether the negative prompt has no part: at a cfg of 1."""
    return abs(guidance.cfg - 1.0) < CFG_ONE


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


def rescaled(guided: Tensor, positive: Tensor, share: float) -> Tensor:
    """Guided network output, for ``share`` of it at the deviation of the positive prompt's output.

    Guidance raises the deviation and with it contrast (arXiv:2305.08891, section 3.4). Deviations
    are over channels and pixels of each image.
    """
    dims = tuple(range(1, guided.ndim))
    ratio = positive.std(dims, keepdim=True) / guided.std(dims, keepdim=True)
    return guided * (share * ratio + (1.0 - share))


def guide(
    x: Tensor, positive: Tensor, negative: Tensor, guidance: Guidance, progress: float
) -> Tensor:
    """One clean guess from those of the two prompts; all (B, C, H, W)."""
    eps_positive = sharpen(x - positive, positive, guidance.sharpness, progress)
    eps = adaptive(eps_positive, x - negative, guidance.cfg, guidance.adaptive_cfg, progress)
    return x - eps
