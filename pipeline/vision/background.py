"""The foreground of a picture, found by the models that the rembg project publishes.

Sizes, normalisation and the meaning of the outputs are those that rembg publishes with its files
(github.com/danielgatis/rembg); its package would bring numba, scikit-image and a downloader of
its own, of which nothing is used here.
"""

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pipeline.request.choices import ClothCategory, MaskModel
from pipeline.vision.pixels import IMAGENET_MEAN, IMAGENET_STD, Triple, mask_of_levels
from pipeline.vision.sessions import Session, Shapes, Sides, open_session

CLOTHES: Final = "u2net_cloth_seg"
_CLASSES: Final[dict[ClothCategory, int]] = {"upper": 1, "lower": 2, "full": 3}  # 0 is no cloth
_KIND: Final = "foreground model"


class _Input(NamedTuple):
    """A model's input: a square of this side, colours 0…1 less ``mean``, over ``std``."""

    side: int
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD


_ONES: Final = (1.0, 1.0, 1.0)
INPUTS: Final[dict[MaskModel, _Input]] = {
    "u2net": _Input(320),
    "u2netp": _Input(320),
    "u2net_human_seg": _Input(320),
    "u2net_cloth_seg": _Input(768),
    "silueta": _Input(320),
    "isnet-general-use": _Input(1024, (0.5, 0.5, 0.5), _ONES),
    "isnet-anime": _Input(1024, IMAGENET_MEAN, _ONES),
}


def load_foreground(path: Path, model: MaskModel, device: torch.device) -> Session:
    """A foreground model of that name; any but "sam". Raises InvalidModelFile."""
    side = INPUTS[model].side
    return open_session(path, device, _KIND, Shapes((None, 3, side, side), _gives(model)))


def foreground_mask(
    session: Session, model: MaskModel, image: Image.Image, cloth_category: ClothCategory
) -> Image.Image:
    """An "L" mask of an RGB picture, soft at its edges. ``model`` is any but "sam".

    ``cloth_category`` matters to the clothes' model only: clothes of the upper or lower body, or
    such as cover the whole of it. Raises InvalidModelFile.
    """
    output = session.first_output(_input(image, INPUTS[model]), _gives(model))
    if model == CLOTHES:
        found = np.argmax(output[0], axis=0) == _CLASSES[cloth_category]  # (4, h, w) → (h, w)
        levels = found.astype(np.float32)
    else:
        levels = _stretched(output[0, 0])  # (1, 1, h, w) → (h, w)
    return mask_of_levels(levels, image.width, image.height)


def _gives(model: MaskModel) -> Sides:
    """A plane of levels, or of clothes one for each class."""
    side = INPUTS[model].side
    return (None, 1 + len(_CLASSES) if model == CLOTHES else 1, side, side)


def _input(image: Image.Image, wanted: _Input) -> NDArray[np.float32]:
    """(1, 3, side, side) float32; the brightest level of all is 1, as in these models' training."""
    sized = image.resize((wanted.side, wanted.side), Image.Resampling.LANCZOS)
    levels = np.asarray(sized, dtype=np.float32)
    levels /= max(float(levels.max()), 1e-6)
    mean, std = np.array(wanted.mean, np.float32), np.array(wanted.std, np.float32)
    return np.ascontiguousarray(((levels - mean) / std).transpose(2, 0, 1)[None])


def _stretched(levels: NDArray[np.float32]) -> NDArray[np.float32]:
    """The least level becomes 0, the greatest 1; an even plane shows nothing and becomes 0."""
    low, high = float(levels.min()), float(levels.max())
    if high - low < 1e-6:
        return np.zeros_like(levels)
    return (levels - low) / (high - low)
