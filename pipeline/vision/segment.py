"""Masks of what boxes hold, drawn by Segment Anything (arXiv:2304.02643)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate, pad

from pipeline.errors import InvalidModelFile
from pipeline.vision.detection import Box
from pipeline.vision.folders import load_folder
from pipeline.vision.pixels import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    long_side_fits,
    mask_image,
    standardised,
)
from pipeline.vision.sam_files import config_of, renamed
from pipeline.weights.tensors import fill, read_values

_KIND: Final = "Segment Anything model"
_AT_ONCE: Final = 32  # boxes that are decoded together


class Segmenter:
    """Draws masks of boxes. Device thread only."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.parts = (model,)
        self._side: int = model.config.vision_config.image_size

    def mask(self, image: Image.Image, boxes: Sequence[Box]) -> Image.Image:
        """What the boxes of an RGB picture hold, all in one: an "L" picture of 0 and 255."""
        union = np.zeros((image.height, image.width), dtype=bool)
        if not boxes:
            return mask_image(union)
        width, height = long_side_fits(image.width, image.height, self._side)
        sized = image.resize((width, height), Image.Resampling.BILINEAR)
        pixels = standardised(sized, IMAGENET_MEAN, IMAGENET_STD)
        pixels = pad(pixels, (0, self._side - width, 0, self._side - height))
        features = self._model.get_image_embeddings(pixels.to(self._model.device))
        scale = torch.tensor([width / image.width, height / image.height] * 2)
        for part in _batches(boxes):
            corners = torch.tensor(part)[None] * scale  # (1, N, 4)
            masks = self._model(
                image_embeddings=features,
                input_boxes=corners.to(self._model.device),
                multimask_output=False,
            ).pred_masks[0]  # (N, 1, side/4, side/4)
            for mask in masks:  # one by one: at full size they may be large
                union |= self._at_full_size(mask, (height, width), (image.height, image.width))
        return mask_image(union)

    def _at_full_size(
        self, mask: Tensor, inside: tuple[int, int], size: tuple[int, int]
    ) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Cut off the padding, scale to ``size``; what is above 0 belongs to the thing."""
        square = _scaled(mask[None].float(), (self._side, self._side))
        whole = _scaled(square[..., : inside[0], : inside[1]], size)
        found: np.ndarray[Any, np.dtype[np.bool_]] = (whole[0, 0] > 0).cpu().numpy()
        return found


def load_segmenter(path: Path, device: torch.device) -> Segmenter:
    """From a folder in transformers' layout or an original file. Raises InvalidModelFile."""
    from transformers import SamModel  # noqa: PLC0415 - takes seconds

    if path.is_dir():
        return Segmenter(load_folder(SamModel, path, _KIND, device))
    tensors = renamed(read_values(path, _KIND))
    try:
        config = config_of(tensors)
    except InvalidModelFile as error:
        raise InvalidModelFile(f"{path.name}: {error}") from None
    with torch.device("meta"):
        model = SamModel(config)
    return Segmenter(fill(model, tensors, path.name, torch.float32).to(device))


def _batches(boxes: Sequence[Box]) -> list[list[Box]]:
    return [list(boxes[i : i + _AT_ONCE]) for i in range(0, len(boxes), _AT_ONCE)]


def _scaled(mask: Tensor, size: tuple[int, int]) -> Tensor:
    return interpolate(mask, size, mode="bilinear", align_corners=False)
