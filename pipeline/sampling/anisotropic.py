"""The edge-keeping blur behind ``sharpness``: a bilateral filter with a standardised guide.

A window's rows are weighted one after another, each a view of the padded guide, and channels are
summed one after another: nothing is gathered into columns, and what one row needs stays in the
processor's cache. The sums have the order of one over the whole window, to the bit.
"""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

WINDOW: Final = 13
SIGMA_SPACE: Final = 3.0
SIGMA_COLOUR: Final = 3.0


def anisotropic_blur(x: Tensor, guide: Tensor) -> Tensor:
    """Blur ``x`` (B, C, H, W), but not across the edges of ``guide``; H and W above 6."""
    std, mean = torch.std_mean(guide, dim=(1, 2, 3), keepdim=True)
    weights = _weights((guide - mean) / (std + 1e-5))
    windows = _windows(x)
    weighted, blurred = torch.empty_like(weights), torch.empty_like(x)
    for channel in range(x.shape[1]):
        torch.mul(windows[:, channel], weights, out=weighted)
        torch.sum(weighted.flatten(1, 2), 1, out=blurred[:, channel])
    return blurred / weights.flatten(1, 2).sum(1).unsqueeze(1)


def _weights(guide: Tensor) -> Tensor:
    """What each pixel of a window counts: less where it is far away or where the guide differs.

    (B, WINDOW, WINDOW, H, W).
    """
    batch, channels, height, width = guide.shape
    windows, centre, near = _windows(guide), guide[:, :, None], _spatial_weights(guide.device)
    difference = guide.new_empty(batch, channels, WINDOW, height, width)
    weights = guide.new_empty(batch, WINDOW, WINDOW, height, width)
    for row in range(WINDOW):
        torch.sub(windows[:, :, row], centre, out=difference).abs_()
        of_row = torch.sum(difference, 1, out=weights[:, row])
        of_row.div_(SIGMA_COLOUR).square_().mul_(-0.5).exp_().mul_(near[row])
    return weights


def _spatial_weights(device: torch.device) -> Tensor:
    """Gaussian of the distance from the window's centre, (WINDOW, WINDOW, 1, 1)."""
    offset = torch.arange(WINDOW, device=device, dtype=torch.float32) - WINDOW // 2
    line = torch.exp(-0.5 * (offset / SIGMA_SPACE) ** 2)
    return (line[:, None] * line[None, :])[:, :, None, None]


def _windows(x: Tensor) -> Tensor:
    """A view of each pixel's window, the border reflected: (B, C, WINDOW, WINDOW, H, W)."""
    pad = WINDOW // 2
    padded = functional.pad(x, (pad, pad, pad, pad), mode="reflect")
    batch, channel, row, column = padded.stride()
    shape = (*x.shape[:2], WINDOW, WINDOW, *x.shape[2:])
    return padded.as_strided(shape, (batch, channel, row, column, row, column))
