"""A drawing in tags, named by the WD14 tagger: an ONNX file and its table of tags."""

import csv
import re
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import InvalidModelFile
from pipeline.vision.onnx_runtime import check_installed
from pipeline.vision.pixels import long_side_fits
from pipeline.vision.sessions import Session, Shapes, Sides, open_session
from pipeline.weights.pickled import reason_of

# Of the table's categories: what is seen, and who. The rest rates the picture and is left out.
_GENERAL: Final = "0"
_CHARACTER: Final = "4"
_THRESHOLDS: Final = {_GENERAL: 0.35, _CHARACTER: 0.85}  # Fooocus's
_KIND: Final = "tagger"
_GIVES: Final[Sides] = (None, None)  # a score for each tag
_SIDE: Final = 448  # where the model does not say its own
_WORD: Final = re.compile(r"[A-Za-z]{2}")
_WEIGHT_SIGNS: Final = str.maketrans({"(": r"\(", ")": r"\)", "[": r"\[", "]": r"\]"})


class Tag(NamedTuple):
    """A row of the table."""

    name: str
    category: str


class Tagger:
    """Names what a drawing shows. Device thread only."""

    def __init__(self, session: Session, tags: list[Tag]) -> None:
        self._session = session
        self._tags = tags
        side = session.input_shape[1] if len(session.input_shape) == 4 else None
        self._side = side if isinstance(side, int) else _SIDE

    def describe(self, image: Image.Image) -> str:
        """Characters, then what is seen, the surest first, joined by ", ".

        Written so that the prompt's weights do not take a tag's brackets for theirs. Raises
        InvalidModelFile.
        """
        scores = self._session.first_output(_input(image, self._side), _GIVES)[0]
        if len(scores) != len(self._tags):
            raise InvalidModelFile(
                f"the tagger has {len(scores)} tags, its table {len(self._tags)}; they do not"
                " belong together: put model.onnx and selected_tags.csv of one tagger there"
            )
        surest = np.argsort(-scores, kind="stable").tolist()
        named = [
            _readable(self._tags[i].name)
            for category in (_CHARACTER, _GENERAL)
            for i in surest
            if self._tags[i].category == category and scores[i] > _THRESHOLDS[category]
        ]
        return ", ".join(named)


def load_tagger(model: Path, table: Path, device: torch.device) -> Tagger:
    """The tagger and its tags. Raises ModelNotInstalled without onnxruntime, InvalidModelFile."""
    check_installed("the tagger")
    session = open_session(model, device, _KIND, Shapes((None, None, None, 3), _GIVES))
    return Tagger(session, read_tags(table))


def read_tags(table: Path) -> list[Tag]:
    """The rows of ``selected_tags.csv``, in the order of the outputs. Raises InvalidModelFile."""
    try:
        with table.open(encoding="utf-8", newline="") as file:
            return [Tag(row["name"], row["category"]) for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise InvalidModelFile(
            f"{table.name} is no table of tags ({reason_of(error)}); download it again"
        ) from error


def _input(image: Image.Image, side: int) -> NDArray[np.float32]:
    """(1, side, side, 3) float32, blue first, 0…255: the picture amid a white square."""
    width, height = long_side_fits(image.width, image.height, side)
    square = Image.new("RGB", (side, side), "white")
    sized = image.resize((width, height), Image.Resampling.BICUBIC)
    square.paste(sized, ((side - width) // 2, (side - height) // 2))
    return np.ascontiguousarray(np.asarray(square, dtype=np.float32)[None, :, :, ::-1])


def _readable(name: str) -> str:
    """Underscores become spaces, except in a face such as ``^_^``."""
    spaced = name.replace("_", " ") if _WORD.search(name) else name
    return spaced.translate(_WEIGHT_SIGNS)
