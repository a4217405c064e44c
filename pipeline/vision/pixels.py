"""Pictures as the arrays that vision models want. Knows no model."""

import math
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

Triple = tuple[float, float, float]

# Mean and deviation of the colours of ImageNet's pictures, of which most vision models' are.
IMAGENET_MEAN: Final[Triple] = (0.485, 0.456, 0.406)
IMAGENET_STD: Final[Triple] = (0.229, 0.224, 0.225)


def standardised(image: Image.Image, mean: Triple, std: Triple) -> Tensor:
    """An RGB picture as (1, 3, H, W) float32, colours 0…1 less ``mean``, over ``std``."""
    levels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255.0
    return (levels - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)


def long_side_fits(width: int, height: int, longest: int) -> tuple[int, int]:
    """Width and height scaled so that the longer one is ``longest``, each at least 1."""
    scale = longest / max(width, height)
    return max(1, math.floor(width * scale + 0.5)), max(1, math.floor(height * scale + 0.5))


def mask_image(mask: NDArray[np.bool_]) -> Image.Image:
    """A (H, W) array as a black and white "L" picture."""
    return Image.fromarray(mask.astype(np.uint8) * 255)


def mask_of_levels(levels: NDArray[np.float32], width: int, height: int) -> Image.Image:
    """A (h, w) array of 0…1 as an "L" picture of the given size, Lanczos."""
    small = Image.fromarray((levels * 255.0).astype(np.uint8))
    return small.resize((width, height), Image.Resampling.LANCZOS)
