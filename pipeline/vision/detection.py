"""Boxes of what a text names in a picture, found by Grounding DINO (arXiv:2303.05499)."""

from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from pipeline.vision.folders import load_folder, load_tokenizer
from pipeline.vision.pixels import IMAGENET_MEAN, IMAGENET_STD, standardised

_KIND: Final = "Grounding DINO detector"

# The published preprocessing: the short side as near to 800 as the long one's limit lets it.
_SHORT: Final = 800
_LONG: Final = 1333
_WIDEST: Final = 16  # times the other side; a narrower strip would leave no pixel of it


class Box(NamedTuple):
    """A rectangle in pixels of the picture; right and bottom lie outside."""

    left: float
    top: float
    right: float
    bottom: float

    def grown(self, pixels: int, width: int, height: int) -> "Box | None":
        """Moved outward on each side (inward below 0), within the picture; None if none is left."""
        left, top = max(0.0, self.left - pixels), max(0.0, self.top - pixels)
        right = min(float(width), self.right + pixels)
        bottom = min(float(height), self.bottom + pixels)
        if right <= left or bottom <= top:
            return None
        return Box(left, top, right, bottom)


class Detector:
    """Finds what a text names. Device thread only."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self.parts = (model,)

    def find(
        self, image: Image.Image, prompt: str, box_threshold: float, text_threshold: float
    ) -> list[Box]:
        """Boxes in an RGB picture, the best match first.

        A box counts if something of the prompt matches it better than ``box_threshold`` and one of
        its words better than ``text_threshold``. Several things are told apart by full stops.
        """
        text = self._tokenizer(
            caption(prompt),
            return_tensors="pt",
            truncation=True,
            max_length=self._model.config.max_text_len,
        )
        pixels = standardised(_sized(image), IMAGENET_MEAN, IMAGENET_STD)
        device = self._model.device
        output = self._model(
            pixel_values=pixels.to(device),
            input_ids=text["input_ids"].to(device),
            token_type_ids=text["token_type_ids"].to(device),
            attention_mask=text["attention_mask"].to(device),
        )
        matches = output.logits[0].float().sigmoid().cpu()  # (queries, tokens); 0 beyond the text
        best = matches.max(dim=-1).values
        last = text["input_ids"].shape[1] - 1
        words = matches[:, 1:last].max(dim=-1).values  # what stands at the ends is no word
        chosen = [i for i in best.argsort(descending=True).tolist() if best[i] > box_threshold]
        boxes = _corners(output.pred_boxes[0].float().cpu(), image.width, image.height)
        return [boxes[i] for i in chosen if words[i] > text_threshold]


def load_detector(folder: Path, device: torch.device) -> Detector:
    """Grounding DINO from a folder in transformers' layout. Raises InvalidModelFile."""
    from transformers import GroundingDinoForObjectDetection  # noqa: PLC0415 - takes seconds

    model = load_folder(GroundingDinoForObjectDetection, folder, _KIND, device)
    vocabulary = model.config.text_config.vocab_size
    return Detector(model, load_tokenizer(folder, _KIND, vocabulary))


def caption(prompt: str) -> str:
    """The prompt as the model was taught to read: in small letters, with a full stop at its end."""
    text = prompt.strip().lower()
    return text if text.endswith(".") else f"{text}."


def draw_boxes(boxes: list[Box], width: int, height: int) -> Image.Image:
    """White rectangles on a black "L" picture."""
    picture = Image.new("L", (width, height))
    draw = ImageDraw.Draw(picture)
    for box in boxes:
        left, top = round(box.left), round(box.top)
        right, bottom = max(left, round(box.right) - 1), max(top, round(box.bottom) - 1)
        draw.rectangle((left, top, right, bottom), fill=255)
    return picture


def _sized(image: Image.Image) -> Image.Image:
    width, height = image.size
    scale = min(_SHORT / min(width, height), _LONG / max(width, height))
    least = _LONG // _WIDEST
    sides = (max(least, int(width * scale)), max(least, int(height * scale)))
    return image.resize(sides, Image.Resampling.BILINEAR)


def _corners(boxes: Tensor, width: int, height: int) -> list[Box]:
    """Boxes of centre and size, in shares of the picture, (N, 4) → corners in pixels."""
    middle, half = boxes[:, :2], boxes[:, 2:] / 2
    sides = torch.tensor([width, height, width, height])
    corners = torch.cat((middle - half, middle + half), dim=1) * sides
    return [Box(*corner) for corner in corners.tolist()]
