"""Preview of latents by a linear map to RGB, cheap enough for every step."""

import io
import math
from collections.abc import Sequence
from typing import Final

import torch
from PIL import Image
from torch import Tensor

from pipeline.sampling.latent_format import LatentRgb

MIME: Final = "image/jpeg"
_SIDE: Final = 256  # pixels of the longer side
_GRID_SIDE: Final = 384  # the same of several images together


def draw_preview(latents: Sequence[Tensor], rgb: LatentRgb) -> bytes:
    """A JPEG of latents (1, C, h, w) of one size: of one alone, or of several in a grid, row by
    row."""
    weight, bias = torch.tensor(rgb.weight), torch.tensor(rgb.bias)
    pixels = [latent[0].float().cpu().permute(1, 2, 0) @ weight + bias for latent in latents]
    image = Image.fromarray(_tiled(pixels).mul(255).clamp(0, 255).to(torch.uint8).numpy())
    scale = (_SIDE if len(latents) == 1 else _GRID_SIDE) / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    buffer = io.BytesIO()
    image.resize(size, Image.Resampling.BILINEAR).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def _tiled(images: Sequence[Tensor]) -> Tensor:
    """Images (h, w, 3) in a grid as square as can be; black where there is none."""
    columns = math.ceil(math.sqrt(len(images)))
    height, width, channels = images[0].shape
    grid = images[0].new_zeros(math.ceil(len(images) / columns) * height, columns * width, channels)
    for number, image in enumerate(images):
        top, left = number // columns * height, number % columns * width
        grid[top : top + height, left : left + width] = image
    return grid
