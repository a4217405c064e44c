"""CLIP's image encoder, from a file or folder."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.memory.device import place
from pipeline.weights.tensors import fill, read_component, read_config, read_tensors

CLIP_VIT_H: Final = Path(__file__).parent / "configs" / "clip_vit_h"

# Of the colours of the pictures CLIP was trained on (arXiv:2103.00020, its published code).
CLIP_MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Final = (0.26862954, 0.26130258, 0.27577711)

_LONGEST: Final = 16  # of a picture's long side, how many times its short side is looked at


class ImageEncoder:
    """Images to features: the hidden states of each patch before the last layer."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._blank: Tensor | None = None
        self.image_size: int = module.config.image_size
        self.width: int = module.config.hidden_size

    def features(self, image: Image.Image) -> Tensor:
        """Features (1, 1 + patches, width) of an image, float32 on the encoder's device."""
        return self._encode(clip_pixels(image, self.image_size))

    def blank_features(self) -> Tensor:
        """As ``features``, of an image whose normalised pixels are all zero; computed once."""
        if self._blank is None:
            self._blank = self._encode(torch.zeros(1, 3, self.image_size, self.image_size))
        return self._blank

    def _encode(self, pixels: Tensor) -> Tensor:
        module = self._module
        output = module(pixels.to(module.device, module.dtype), output_hidden_states=True)
        features: Tensor = output.hidden_states[-2]
        return features.float()


def load_image_encoder(
    path: Path, device: torch.device, single_file_config: Path = CLIP_VIT_H
) -> ImageEncoder:
    """The encoder of a folder with config.json, or of one file in transformers' layout.

    A single file brings no sizes: it must be a ViT-H. Raises InvalidModelFile.
    """
    # Imported at use: it takes seconds, and most tasks have no image prompt.
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection  # noqa: PLC0415

    is_folder = path.is_dir()
    config = read_config((path if is_folder else single_file_config) / "config.json")
    half = device.type != "cpu"
    tensors = read_component(path, half=half) if is_folder else read_tensors(path, "image encoder")
    with torch.device("meta"):
        module = CLIPVisionModelWithProjection(CLIPVisionConfig(**config))
    placement = place(device, sum(tensor.numel() for tensor in tensors.values()))
    fill(module, tensors, f"image encoder {path.name}", placement.text)
    embeddings = module.vision_model.embeddings  # its positions are the one buffer no file holds
    embeddings.position_ids = torch.arange(embeddings.num_positions)[None]
    return ImageEncoder(module.to(device))


def clip_pixels(image: Image.Image, size: int) -> Tensor:
    """CLIP's input (1, 3, size, size): the centre square of an image, standardised."""
    middle = _middle_square(image.convert("RGB"), size)
    levels = torch.from_numpy(np.array(middle)).permute(2, 0, 1)[None].float() / 255.0
    mean, std = torch.tensor(CLIP_MEAN).view(1, 3, 1, 1), torch.tensor(CLIP_STD).view(1, 3, 1, 1)
    return (levels - mean) / std


def _middle_square(image: Image.Image, size: int) -> Image.Image:
    """The short side resized to ``size``, bicubic, and the centre of the long one cropped."""
    short = min(image.size)
    image = _without_far_ends(image, short * _LONGEST)
    width, height = (size * side // short for side in image.size)
    sized = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return sized.crop((left, top, left + size, top + size))


def _without_far_ends(image: Image.Image, longest: int) -> Image.Image:
    """The centre of a long strip, which enlarged whole could be too large for memory."""
    left, top = (max(0, side - longest) // 2 for side in image.size)
    return image.crop((left, top, image.width - left, image.height - top))
