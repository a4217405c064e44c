"""Fooocus's inpaint head: one convolution of mask and masked latent, added to a UNet's input."""

from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.errors import InvalidModelFile
from pipeline.sampling.inpainting import Inpainting
from pipeline.sampling.latent_format import LatentFormat
from pipeline.weights.tensors import read_values

_NAME: Final = "head"
_SHAPE: Final = (5, 3, 3)  # mask and latent in, 3x3


class InpaintHead:
    """The convolution's ``weight`` (C, 5, 3, 3), float32; C are the first layer's channels."""

    def __init__(self, weight: Tensor) -> None:
        self._weight = weight

    @property
    def channels(self) -> int:
        """Channels of the UNet's first layer."""
        return self._weight.shape[0]

    def feature(self, surroundings: Inpainting, latents: LatentFormat) -> Tensor:
        """The addition to the first layer's output, (1, C, h, w) float32 on the CPU.

        ``surroundings`` is the latent of the image with grey under the mask.
        """
        latent = latents.to_model(surroundings.latent.float().cpu())
        seen = torch.cat([surroundings.mask.float().cpu(), latent], dim=1)
        return functional.conv2d(functional.pad(seen, (1, 1, 1, 1), "replicate"), self._weight)


def load_inpaint_head(path: Path) -> InpaintHead:
    """Read a head in torch's own format or safetensors. Raises InvalidModelFile."""
    values = read_values(path, "inpaint head")
    weight = values.get(_NAME)
    if not isinstance(weight, Tensor) or weight.shape[1:] != _SHAPE:
        raise InvalidModelFile(
            f"{path.name} is no inpaint head: it should hold {_NAME!r} of (channels, 5, 3, 3)"
        )
    return InpaintHead(weight.float())
