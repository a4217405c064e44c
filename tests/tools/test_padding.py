"""The reference's padding resize, kept for its figures."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tools.parity_cases.padding import resize_padded


@pytest.mark.parametrize("size", [(40, 90), (90, 40), (64, 64), (1, 64), (64, 1), (121, 80)])
def test_padding_gives_the_size_asked_for_and_fills_it(size: tuple[int, int]) -> None:
    made = resize_padded(Image.new("RGB", (120, 80), "white"), *size)
    assert made.size == size
    assert np.asarray(made).min() == 255


def test_padding_keeps_the_whole_picture() -> None:
    image = Image.new("RGB", (120, 80))
    ImageDraw.Draw(image).rectangle((40, 20, 79, 59), fill="white")
    made = resize_padded(image, 60, 60)  # 60 by 40 in the middle
    bright = np.argwhere(np.asarray(made.convert("L")) > 127)
    assert bright.min(axis=0).tolist() == [20, 20]
    assert bright.max(axis=0).tolist() == [39, 39]
