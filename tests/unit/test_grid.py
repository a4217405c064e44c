"""Several pictures on one."""

import pytest
from PIL import Image

from pipeline.images.grid import make_grid

COLOURS = ("red", "green", "blue", "yellow", "white")


def squares(count: int) -> list[Image.Image]:
    return [Image.new("RGB", (8, 4), colour) for colour in COLOURS[:count]]


@pytest.mark.parametrize(
    ("count", "size"), [(2, (16, 4)), (3, (16, 8)), (4, (16, 8)), (5, (24, 8))]
)
def test_a_grid_is_as_near_to_a_square_as_it_goes(count: int, size: tuple[int, int]) -> None:
    grid = make_grid(squares(count))
    assert grid is not None
    assert grid.size == size


def test_pictures_stand_row_by_row_and_what_is_left_is_black() -> None:
    grid = make_grid(squares(3))
    assert grid is not None
    corners = [grid.getpixel(place) for place in ((0, 0), (8, 0), (0, 4), (8, 4))]
    assert corners == [(255, 0, 0), (0, 128, 0), (0, 0, 255), (0, 0, 0)]


def test_one_picture_or_unequal_ones_make_no_grid() -> None:
    assert make_grid(squares(1)) is None
    assert make_grid([*squares(1), Image.new("RGB", (4, 4))]) is None
