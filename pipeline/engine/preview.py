"""Preview of a latent by a linear map to RGB, cheap enough for every step."""

import io
from typing import Final

import torch
from PIL import Image
from torch import Tensor

from pipeline.sampling.latent_format import LatentRgb

MIME: Final = "image/jpeg"
_SIDE: Final = 256  # pixels of the longer side


def draw_preview(latent: Tensor, rgb: LatentRgb) -> bytes:
    """A JPEG of the first of (B, 4, h, w), its longer side 256 pixels."""
    weight = torch.tensor(rgb.weight)
    pixels = latent[0].float().cpu().permute(1, 2, 0) @ weight + torch.tensor(rgb.bias)
    image = Image.fromarray(pixels.mul(255).clamp(0, 255).to(torch.uint8).numpy())
    scale = _SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    buffer = io.BytesIO()
    image.resize(size, Image.Resampling.BILINEAR).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
