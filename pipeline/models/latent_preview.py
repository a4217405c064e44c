"""A linear preview of any VAE's latents, fitted to what the VAE itself makes of some."""

import logging
from typing import Any, Final

import torch
from torch import Tensor

from pipeline.sampling.latent_format import LatentRgb

log = logging.getLogger(__name__)

_SIDE: Final = 8  # cells of the latents that are decoded
_SAMPLES_A_CHANNEL: Final = 2
_LEAST: Final = 24
_RIDGE: Final = 1e-2


def fitted_rgb(vae: Any, channels: int) -> LatentRgb:
    """The map from latents in a network's space to RGB with the least squared error on smooth
    random latents; ``plain_rgb`` where the VAE cannot be asked.

    Draws from a generator of its own. The VAE decodes some tens of images of a few cells.
    """
    if vae is None:
        return plain_rgb(channels)
    generator = torch.Generator("cpu").manual_seed(0)
    samples = max(_LEAST, _SAMPLES_A_CHANNEL * channels)
    constant = torch.randn(samples, channels, 1, 1, generator=generator)
    latents = constant + 0.3 * torch.randn(samples, channels, _SIDE, _SIDE, generator=generator)
    try:
        colours = torch.cat([_decoded(vae, latents[i : i + 1]) for i in range(samples)])
    except (RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
        log.info("previews of %s are plain: %s", type(vae).__name__, error)
        return plain_rgb(channels)
    return _least_squares(latents.mean((2, 3)), colours)


def plain_rgb(channels: int) -> LatentRgb:
    """Each of the three colours from every third channel."""
    share = 0.5 / max(1, (channels + 2) // 3) ** 0.5
    rows = tuple(tuple(share if c % 3 == k else 0.0 for k in range(3)) for c in range(channels))
    return LatentRgb(weight=tuple((r, g, b) for r, g, b in rows), bias=(0.5, 0.5, 0.5))


def _least_squares(x: Tensor, y: Tensor) -> LatentRgb:
    """Of colours ``y`` (N, 3) by latents ``x`` (N, C)."""
    mean_x, mean_y = x.mean(0), y.mean(0)
    centred = x - mean_x
    normal = centred.T @ centred + _RIDGE * len(x) * torch.eye(x.shape[1])
    weight = torch.linalg.solve(normal, centred.T @ (y - mean_y))
    bias = mean_y - mean_x @ weight
    if not (torch.isfinite(weight).all() and torch.isfinite(bias).all()):
        return plain_rgb(x.shape[1])
    rows = tuple((r, g, b) for r, g, b in weight.tolist())
    red, green, blue = bias.tolist()
    return LatentRgb(weight=rows, bias=(red, green, blue))


def _decoded(vae: Any, latent: Tensor) -> Tensor:
    """The mean colour (1, 3), 0...1, of a latent (1, C, h, w) in the network's space."""
    parameter = next(vae.parameters())
    x = _to_vae(vae.config, latent).to(parameter.device, parameter.dtype)
    if "temperal_downsample" in vae.config:  # a video VAE: one frame
        x = x.unsqueeze(2)
    pixels: Tensor = vae.decode(x, return_dict=False)[0].float().cpu()
    return (pixels.flatten(2).mean(2) / 2 + 0.5).clamp(0, 1)


def _to_vae(config: Any, latent: Tensor) -> Tensor:
    mean, std = config.get("latents_mean"), config.get("latents_std")
    if mean is not None and std is not None:
        shape = (1, -1, 1, 1)
        return latent * torch.tensor(std).view(shape) + torch.tensor(mean).view(shape)
    shift = config.get("shift_factor") or 0.0
    return latent / (config.get("scaling_factor") or 1.0) + shift
