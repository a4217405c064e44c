"""The interface of samplers.

Shapes: ``x`` and ``denoised`` are float32 latents (B, C, h, w); ``sigmas`` is (S+1,), float32
on the CPU and descending, so that comparing one never waits for the device.
"""

from collections.abc import Callable

from torch import Tensor

Denoise = Callable[[Tensor, Tensor], Tensor]
"""(x, sigma) -> the guess of the clean latent; guidance, prompts and dtype are its business."""

Noise = Callable[[Tensor, Tensor], Tensor]
"""(sigma, sigma_next) -> unit normal noise for a step between the two, shaped like ``x``."""

OnStep = Callable[[int, Tensor], None]
"""(index from 0, denoised); may raise to end the run."""

Sampler = Callable[[Denoise, Tensor, Tensor, Noise, OnStep], Tensor]
"""(denoise, x at sigmas[0], sigmas, noise, on_step) -> x at sigmas[-1]."""


def slope(x: Tensor, sigma: Tensor, denoised: Tensor) -> Tensor:
    """dx/dsigma of the probability-flow ODE (Karras et al. 2022, arXiv:2206.00364, equation 3)."""
    return (x - denoised) / sigma


def ancestral_split(sigma: Tensor, sigma_next: Tensor, eta: float = 1.0) -> tuple[Tensor, Tensor]:
    """Split a step into (sigma to step down to, noise to add back), all 0-d.

    Keeps down**2 + up**2 == sigma_next**2. ``eta`` 0 is deterministic, 1 is full ancestral noise.
    """
    variance = sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2
    up = (eta * variance**0.5).minimum(sigma_next)
    return (sigma_next**2 - up**2) ** 0.5, up
