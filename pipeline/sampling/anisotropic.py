"""The edge-keeping blur behind ``sharpness``: a bilateral filter with a standardised guide."""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

WINDOW: Final = 13
SIGMA_SPACE: Final = 3.0
SIGMA_COLOUR: Final = 3.0


def _spatial_weights(device: torch.device) -> Tensor:
    """Gaussian of the distance from the window's centre: (WINDOW * WINDOW,)."""
    offset = torch.arange(WINDOW, device=device, dtype=torch.float32) - WINDOW // 2
    line = torch.exp(-0.5 * (offset / SIGMA_SPACE) ** 2)
    return (line[:, None] * line[None, :]).flatten()


def _windows(x: Tensor) -> Tensor:
    """Each pixel's window, the border reflected: (B, C, WINDOW * WINDOW, H * W)."""
    pad = WINDOW // 2
    padded = functional.pad(x, (pad, pad, pad, pad), mode="reflect")
    b, c = x.shape[:2]
    return functional.unfold(padded, WINDOW).view(b, c, WINDOW * WINDOW, -1)


def anisotropic_blur(x: Tensor, guide: Tensor) -> Tensor:
    """Blur ``x`` (B, C, H, W), but not across the edges of ``guide``; H and W above 6."""
    std, mean = torch.std_mean(guide, dim=(1, 2, 3), keepdim=True)
    standard = (guide - mean) / (std + 1e-5)
    distance = (_windows(standard) - standard.flatten(2).unsqueeze(2)).abs().sum(1, keepdim=True)
    weights = torch.exp(-0.5 * (distance / SIGMA_COLOUR) ** 2)
    weights = weights * _spatial_weights(x.device).view(1, 1, -1, 1)
    blurred = (_windows(x) * weights).sum(2) / weights.sum(2)
    return blurred.view_as(x)
