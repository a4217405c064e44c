"""A sentence about a photograph, written by BLIP (arXiv:2201.12086)."""

from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image

from pipeline.models.image_encoder import CLIP_MEAN, CLIP_STD
from pipeline.vision.folders import load_folder, load_tokenizer
from pipeline.vision.pixels import standardised

_KIND: Final = "BLIP captioner"
_BEAMS: Final = 3
_MAX_TOKENS: Final = 60


class Captioner:
    """Writes a sentence about a picture, the same each time. Device thread only."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self.parts = (model,)

    def describe(self, image: Image.Image) -> str:
        """A sentence about an RGB picture, without a full stop."""
        side = self._model.config.vision_config.image_size
        sized = image.resize((side, side), Image.Resampling.BICUBIC)
        pixels = standardised(sized, CLIP_MEAN, CLIP_STD).to(self._model.device)
        tokens = self._model.generate(
            pixel_values=pixels, num_beams=_BEAMS, max_new_tokens=_MAX_TOKENS, do_sample=False
        )
        text: str = self._tokenizer.decode(tokens[0], skip_special_tokens=True)
        return text.strip()


def load_captioner(folder: Path, device: torch.device) -> Captioner:
    """BLIP from a folder in transformers' layout. Raises InvalidModelFile."""
    from transformers import BlipForConditionalGeneration  # noqa: PLC0415 - takes seconds

    model = load_folder(BlipForConditionalGeneration, folder, _KIND, device)
    vocabulary = model.config.text_config.vocab_size
    return Captioner(model, load_tokenizer(folder, _KIND, vocabulary))
