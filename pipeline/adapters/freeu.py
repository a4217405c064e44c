"""FreeU v2 (arXiv:2309.11497): in a UNet's decoder, an amplified backbone and damped skips.

diffusers' ``enable_freeu`` implements the first version, with a constant factor; here, as in
Fooocus, the factor follows the mean over channels, and it ends with the image.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pipeline.request.sampling import FreeU

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel


def freeu_scales(freeu: FreeU, channels: int, model_channels: int) -> tuple[float, float] | None:
    """(backbone, skip) factors of a decoder layer of so many channels; None changes nothing."""
    by_channels = {
        4 * model_channels: (freeu.b1, freeu.s1),
        2 * model_channels: (freeu.b2, freeu.s2),
    }
    return by_channels.get(channels)


def strengthen(h: Tensor, factor: float) -> Tensor:
    """(B, C, h, w), the first half of its channels amplified where their mean is high."""
    mean = h.mean(1, keepdim=True)
    low = mean.amin(dim=(2, 3), keepdim=True)
    high = mean.amax(dim=(2, 3), keepdim=True)
    emphasis = (mean - low) / (high - low)
    half = h.shape[1] // 2
    return torch.cat([h[:, :half] * ((factor - 1) * emphasis + 1), h[:, half:]], dim=1)


def quieten(skip: Tensor, factor: float) -> Tensor:
    """(B, C, h, w) with its four lowest frequencies scaled by ``factor``; computed in float32."""
    spectrum = torch.fft.fftshift(torch.fft.fftn(skip.float(), dim=(-2, -1)), dim=(-2, -1))
    row, column = skip.shape[-2] // 2, skip.shape[-1] // 2
    spectrum[..., row - 1 : row + 1, column - 1 : column + 1] *= factor
    shifted = torch.fft.ifftshift(spectrum, dim=(-2, -1))
    scaled: Tensor = torch.fft.ifftn(shifted, dim=(-2, -1)).real
    return scaled.to(skip.dtype)


@contextmanager
def freeu_applied(unet: "UNet2DConditionModel", freeu: FreeU | None) -> Iterator[None]:
    """Apply ``freeu`` to a diffusers UNet within the block."""
    handles = [] if freeu is None else _attach(unet, freeu)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _attach(unet: "UNet2DConditionModel", freeu: FreeU) -> list[torch.utils.hooks.RemovableHandle]:
    """Pre-hooks on the decoder's residual blocks, which get [backbone | skip] along channels."""
    handles = []
    model_channels = unet.conv_in.out_channels
    backbone = unet.mid_block.resnets[-1].out_channels
    for block in unet.up_blocks:
        for resnet in block.resnets:
            scales = freeu_scales(freeu, backbone, model_channels)
            if scales is not None:
                hook = _Entry(backbone, *scales)
                handles.append(resnet.register_forward_pre_hook(hook))
            backbone = resnet.out_channels
    return handles


class _Entry:
    """Forward pre-hook of one decoder layer."""

    def __init__(self, backbone: int, strength: float, quiet: float) -> None:
        self._backbone, self._strength, self._quiet = backbone, strength, quiet

    def __call__(self, _module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        joined, *rest = args
        h, skip = joined[:, : self._backbone], joined[:, self._backbone :]
        joined = torch.cat([strengthen(h, self._strength), quieten(skip, self._quiet)], dim=1)
        return (joined, *rest)
