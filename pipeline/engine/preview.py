"""A small picture of a latent, cheap enough to make at every step: colours by a linear map."""

import io
from pathlib import Path
from typing import Annotated, Final

import msgspec
import torch
from msgspec import Meta
from PIL import Image
from torch import Tensor

from pipeline.errors import InvalidModelFile

MIME: Final = "image/jpeg"
_SIDE: Final = 256  # pixels of the longer side

Row = tuple[float, float, float]

# SDXL's latent to RGB by T. A. Vass, published in diffusers' documentation ("Pipeline callbacks").
_SDXL_WEIGHT: Final[tuple[Row, ...]] = (
    (60 / 255, 60 / 255, 60 / 255),
    (-60 / 255, -5 / 255, 10 / 255),
    (25 / 255, 15 / 255, -5 / 255),
    (-70 / 255, -50 / 255, -35 / 255),
)
_SDXL_BIAS: Final[Row] = (150 / 255, 140 / 255, 130 / 255)


class LatentColours(msgspec.Struct, frozen=True):
    """RGB (0...1) = latent (4) times ``weight`` plus ``bias``; latents in the sampler's space."""

    weight: Annotated[tuple[Row, ...], Meta(min_length=4, max_length=4)] = _SDXL_WEIGHT
    bias: Row = _SDXL_BIAS


def read_colours(path: Path) -> LatentColours:
    """Colours fitted to one model; SDXL's where there is no such file. Raises InvalidModelFile."""
    if not path.is_file():
        return LatentColours()
    try:
        return msgspec.json.decode(path.read_bytes(), type=LatentColours)
    except msgspec.DecodeError as error:
        raise InvalidModelFile(f"{path.name}: {error}") from error


def draw_preview(latent: Tensor, colours: LatentColours) -> bytes:
    """A JPEG of the first of (B, 4, h, w), its longer side 256 pixels."""
    weight = torch.tensor(colours.weight)
    pixels = latent[0].float().cpu().permute(1, 2, 0) @ weight + torch.tensor(colours.bias)
    image = Image.fromarray(pixels.mul(255).clamp(0, 255).to(torch.uint8).numpy())
    scale = _SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    buffer = io.BytesIO()
    image.resize(size, Image.Resampling.BILINEAR).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
