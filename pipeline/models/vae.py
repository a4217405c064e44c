"""Between pixels and latents: diffusers' AutoencoderKL with the cropping and tiling of Fooocus.

Latents here are in the VAE's space, not scaled for the network (``LatentFormat``). diffusers tiles
too, with another overlap and one tiling where Fooocus takes the mean of three.
"""

from collections.abc import Callable
from typing import Any, Final, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.weights.casting import working_dtype

# Tile (width, height) and overlap, in latent cells; a tiled result is the mean of the three.
_DECODE_TILES: Final = ((32, 128), (128, 32), (64, 64))
_ENCODE_TILES: Final = ((64, 64), (128, 32), (32, 128))
_DECODE_OVERLAP: Final = 16
_ENCODE_OVERLAP: Final = 8


class Decoder(Protocol):
    """Decodes latents of one shape in the module's place."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (1, C, h, w) that it takes."""

    def __call__(self, latent: Tensor) -> Tensor:
        """As the module's decoder: pixels (1, 3, H, W), -1...1, float32."""


class Vae:
    """Encodes and decodes on the device and in the dtype of its module; results are float32."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.factor: int = 2 ** (len(module.config.block_out_channels) - 1)  # pixels a latent cell
        self._decoder: Decoder | None = None

    def use(self, decoder: Decoder | None) -> None:
        """Have ``decoder`` decode latents of its shape from now on; None: the module itself."""
        self._decoder = decoder

    def decode(self, latent: Tensor) -> Tensor:
        """Pixels (B, 3, H, W), 0...1."""
        return (self._decode_raw(latent) * 0.5 + 0.5).clamp_(0.0, 1.0)

    def decode_tiled(self, latent: Tensor) -> Tensor:
        """As ``decode`` but in tiles, for images too large to decode at once."""
        passes = [
            _in_tiles(latent, tile, _DECODE_OVERLAP, self._decode_raw, self.factor)
            for tile in _DECODE_TILES
        ]
        return (torch.stack(passes).mean(0) * 0.5 + 0.5).clamp_(0.0, 1.0)

    def moments(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the posterior of pixels (B, 3, H, W), 0...1."""
        pixels = crop_to_cells(pixels, self.factor) * 2.0 - 1.0
        posterior = self.module.encode(self._move(pixels), return_dict=False)[0]
        return posterior.mean.float(), posterior.logvar.float()

    def encode(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """A sample of the posterior, drawn from ``generator``, which is on the CPU."""
        mean, logvar = self.moments(pixels)
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        return mean + torch.exp(0.5 * logvar.clamp(-30.0, 20.0)) * noise

    def encode_tiled(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """As ``encode`` but in tiles, each sampled anew."""
        pixels = crop_to_cells(pixels, self.factor)
        passes = [
            _in_tiles(
                pixels,
                (width * self.factor, height * self.factor),
                _ENCODE_OVERLAP * self.factor,
                lambda tile: self.encode(tile, generator),
                1 / self.factor,
            )
            for width, height in _ENCODE_TILES
        ]
        return torch.stack(passes).mean(0)

    def _decode_raw(self, latent: Tensor) -> Tensor:
        decoder = self._decoder
        if decoder is not None and latent.shape == decoder.shape:
            return decoder(latent)
        return self.decode_by_module(latent)

    def decode_by_module(self, latent: Tensor) -> Tensor:
        """Pixels -1...1, by the module whatever is in its place."""
        decoded: Tensor = self.module.decode(self._move(latent), return_dict=False)[0]
        return decoded.float()

    def _move(self, x: Tensor) -> Tensor:
        """On the module's device, in its dtype, contiguous.

        On the CPU torch's GroupNorm loses accuracy on channels-last input where a group's mean is
        large against its deviation, so the result would depend on the caller's memory layout.
        """
        return x.to(self.module.device, working_dtype(self.module)).contiguous()


def crop_to_cells(pixels: Tensor, factor: int) -> Tensor:
    """The centre of (B, C, H, W) whose sides are multiples of ``factor``."""
    height, width = (side // factor * factor for side in pixels.shape[-2:])
    top, left = (pixels.shape[-2] - height) // 2, (pixels.shape[-1] - width) // 2
    return pixels[..., top : top + height, left : left + width]


def _in_tiles(
    x: Tensor,
    tile: tuple[int, int],
    overlap: int,
    work: Callable[[Tensor], Tensor],
    factor: float,
) -> Tensor:
    """Run ``work`` on overlapping tiles of ``x`` and blend them with feathered edges."""
    width, height = tile
    total: Tensor | None = None
    weight: Tensor | None = None
    for top in range(0, x.shape[-2], height - overlap):
        for left in range(0, x.shape[-1], width - overlap):
            part = work(x[..., top : top + height, left : left + width])
            if total is None or weight is None:
                size = (round(x.shape[-2] * factor), round(x.shape[-1] * factor))
                total = part.new_zeros((*part.shape[:-2], *size))
                weight = part.new_zeros((1, 1, *size))
            mask = _feather(part, round(overlap * factor))
            y, x0 = round(top * factor), round(left * factor)
            window = (..., slice(y, y + part.shape[-2]), slice(x0, x0 + part.shape[-1]))
            total[window] += part * mask
            weight[window] += mask
    if total is None or weight is None:
        raise ValueError("nothing to tile")
    return total / weight


def _feather(part: Tensor, overlap: int) -> Tensor:
    """Weights that rise linearly over ``overlap`` from every edge."""
    rows = _ramp(part.shape[-2], overlap)
    columns = _ramp(part.shape[-1], overlap)
    return (rows[:, None] * columns[None, :]).to(part)


def _ramp(length: int, overlap: int) -> Tensor:
    weights = torch.ones(length)
    for i in range(overlap):
        factor = (i + 1) / overlap
        if i < length:
            weights[i] *= factor
            weights[length - 1 - i] *= factor
        elif length < i < 2 * length:
            # In a tile shorter than the overlap Fooocus's falling edge starts over at its end.
            weights[2 * length - 1 - i] *= factor
    return weights


def grey_where_masked(pixels: Tensor, mask: Tensor) -> Tensor:
    """Pixels (B, 3, H, W) with mid grey where ``mask`` (B, 1, H, W), rounded, is 1."""
    return torch.where(mask.round() > 0.0, 0.5, pixels)


def latent_mask(mask: Tensor, height: int, width: int, factor: int) -> Tensor:
    """A mask (B, 1, h, w) for a latent of ``height`` x ``width`` pixels; a cell is masked if any of
    its pixels is."""
    sized = functional.interpolate(mask, size=(height, width), mode="bilinear")
    return functional.max_pool2d(sized.round(), factor)
