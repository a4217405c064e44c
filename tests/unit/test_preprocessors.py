"""The hints that control networks look at."""

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipeline.images.preprocessors import (
    canny_hint,
    canny_pyramid,
    cpds,
    cpds_hint,
    hint_source,
    hwc3,
    plain_hint,
)
from pipeline.images.resize import resize_cropped, resize_lanczos


def a_square(colour: str = "white", ground: str = "black") -> Image.Image:
    """A square of 40 pixels in the middle of 120 by 80."""
    image = Image.new("RGB", (120, 80), ground)
    ImageDraw.Draw(image).rectangle((40, 20, 79, 59), fill=colour)
    return image


def test_canny_draws_the_outline_and_leaves_both_sides_of_it_dark() -> None:
    edges = canny_pyramid(np.asarray(a_square()), 64, 128)
    assert edges.shape == (80, 120)
    assert edges.dtype == np.uint8
    assert edges[40, 36:44].max() == 255
    assert edges[40, 60] == 0  # inside
    assert edges[5, 5] == 0  # outside


def test_higher_canny_thresholds_leave_faint_outlines_away() -> None:
    faint = np.asarray(a_square("#282828"))
    assert canny_pyramid(faint, 20, 60).max() == 255
    assert canny_pyramid(faint, 200, 255).max() == 0


def test_canny_sees_an_outline_that_only_colour_makes() -> None:
    red_on_blue = a_square("#ff0000", "#0000ff")
    assert canny_pyramid(np.asarray(red_on_blue), 64, 128)[40, 36:44].max() == 255


def test_cpds_tells_colours_of_equal_brightness_apart() -> None:
    red, green = "#ff0000", "#008200"  # one grey level in the usual weighting
    image = a_square(red, green)
    grey = np.asarray(image.convert("L")).astype(int)
    assert abs(grey[40, 60] - grey[5, 5]) <= 1
    structure = cpds(np.asarray(image)).astype(int)
    assert structure.shape == (80, 120)
    assert abs(structure[40, 60] - structure[5, 5]) > 100


@pytest.mark.parametrize("hint", [lambda image: canny_hint(image, 64, 128), cpds_hint])
def test_a_picture_of_one_colour_gives_a_black_hint(hint: Any) -> None:
    made = np.asarray(hint(Image.new("RGB", (64, 48), "#7f7f7f")))
    assert made.shape == (48, 64, 3)
    assert made.max() == 0


def test_a_picture_of_one_pixel_has_hints_too() -> None:
    assert canny_hint(Image.new("RGB", (1, 1)), 64, 128).size == (1, 1)
    assert cpds_hint(Image.new("RGB", (1, 1))).size == (1, 1)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_pictures_of_every_mode_become_rgb_hints(mode: str) -> None:
    image = a_square().convert(mode)
    for hint in (plain_hint(image), canny_hint(image, 64, 128), cpds_hint(image)):
        assert (hint.mode, hint.size) == ("RGB", (120, 80))
    assert np.asarray(canny_hint(image, 64, 128))[40, 36:44].max() == 255


def test_what_is_transparent_is_white_in_a_hint() -> None:
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert np.asarray(plain_hint(clear)).min() == 255


def test_a_hint_is_made_from_the_middle_of_the_picture_at_the_size_of_the_one_to_make() -> None:
    clear = Image.new("RGBA", (120, 80), (0, 0, 0, 0))
    clear.paste(a_square(), (0, 0), Image.new("L", (120, 80), 255))
    source = hint_source(clear, 40, 80)
    assert (source.mode, source.size) == ("RGB", (40, 80))
    assert np.asarray(source)[30:50].min() == 255  # the square is as wide as what is left


def test_half_transparent_colour_lies_over_white_and_is_truncated() -> None:
    made = hwc3(np.full((1, 1, 4), (10, 100, 200, 128), np.uint8))
    # 10 * 128/255 + 255 * 127/255 = 132.02, and so on
    assert made.tolist() == [[[132, 177, 227]]]


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1)])
def test_grey_becomes_three_equal_channels(shape: tuple[int, ...]) -> None:
    grey = np.arange(20, dtype=np.uint8).reshape(shape)
    made = hwc3(grey)
    assert made.shape == (4, 5, 3)
    assert (made == grey.reshape(4, 5, 1)).all()


def test_cropping_keeps_the_middle_and_the_shape_of_what_is_there() -> None:
    made = resize_cropped(a_square(), 40, 40)  # 80 of the 120 columns stay, at half the size
    assert made.size == (40, 40)
    bright = np.argwhere(np.asarray(made.convert("L")) > 127)
    assert bright.min(axis=0).tolist() == [10, 10]
    assert bright.max(axis=0).tolist() == [29, 29]


@pytest.mark.parametrize("size", [(40, 90), (90, 40), (64, 64), (1, 64), (64, 1), (121, 80)])
def test_every_resize_gives_the_size_asked_for_and_fills_it(size: tuple[int, int]) -> None:
    white = Image.new("RGB", (120, 80), "white")
    for resize in (resize_lanczos, resize_cropped):
        made = resize(white, *size)
        assert made.size == size
        assert np.asarray(made).min() == 255
