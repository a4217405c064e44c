"""Where a picture is painted anew, what is shown of it there, and how the result goes back."""

from contextlib import nullcontext
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.errors import InvalidParameter
from pipeline.images.encode import encode_image
from pipeline.images.inpaint_area import (
    Box,
    Shown,
    fill,
    find_box,
    grow_box,
    make_area,
    resized,
    with_fill,
)
from pipeline.images.mask_check import check_mask
from pipeline.images.masks import Pixels, binary, grow_mask, read_mask, soften_mask
from pipeline.images.outpaint import Margins, extend, margins
from pipeline.images.resize import resize_lanczos
from pipeline.request.choices import OutpaintSide
from pipeline.request.sizes import STEP, shape_ceil, size_of_ceil
from tools.parity_cases.pictures_in import size_text

SIDES: tuple[OutpaintSide, ...] = get_args(OutpaintSide)
SOFT = 32  # pixels around a mask where a result fades into the picture

sides = st.integers(1, 90)
fields = st.sampled_from([0.0, 0.3, 0.618, 0.99, 1.0])


@st.composite
def masks(draw: st.DrawFn) -> Pixels:
    """A mask with one box in it, or single pixels, anywhere."""
    height, width = draw(sides), draw(sides)
    mask = np.zeros((height, width), np.uint8)
    rows, columns = st.integers(0, height - 1), st.integers(0, width - 1)
    for _ in range(draw(st.integers(1, 3))):
        mask[draw(rows), draw(columns)] = draw(st.sampled_from([128, 255]))
    if draw(st.booleans()):
        top, left = draw(rows), draw(columns)
        mask[top : top + draw(sides), left : left + draw(sides)] = 255
    return mask


def make_picture(width: int, height: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def box_mask(width: int, height: int, box: Box) -> Pixels:
    mask = np.zeros((height, width), np.uint8)
    box.cut(mask)[:] = 255
    return mask


@given(masks(), fields)
def test_an_area_lies_in_the_picture_holds_the_mask_and_reaches_its_field(
    mask: Pixels, field: float
) -> None:
    height, width = mask.shape
    box = grow_box(find_box(mask), field, width, height)
    assert box == box.within(width, height)
    assert box.height >= field * height
    assert box.width >= field * width
    left_out = mask.copy()
    box.cut(left_out)[:] = 0
    # A box of an even number of pixels reaches half a pixel further on one side.
    assert grow_mask(box_mask(width, height, box), 1)[left_out > 0].all()


def test_a_mask_with_nothing_in_it_has_no_area() -> None:
    with pytest.raises(ValueError, match="nothing"):
        find_box(np.zeros((8, 8), np.uint8))


def test_a_whole_field_is_the_whole_picture() -> None:
    mask = box_mask(50, 30, Box(0, 2, 0, 2))
    assert grow_box(find_box(mask), 1.0, 50, 30) == Box(0, 30, 0, 50)


@settings(max_examples=25, deadline=None)
@given(masks(), st.integers(1, 80), st.integers(1, 80))
def test_pixels_beyond_the_soft_mask_stay_exactly_as_they_were(
    mask: Pixels, made_width: int, made_height: int
) -> None:
    height, width = mask.shape
    picture = make_picture(width, height)
    area = make_area(picture, mask, 0.618, Shown(64))
    whole = area.paste(make_picture(made_width, made_height, seed=1))
    assert whole.shape == picture.shape
    assert whole.dtype == np.uint8
    outside = area.soft_mask == 0
    np.testing.assert_array_equal(whole[outside], picture[outside])
    far = grow_mask(binary(mask), SOFT) == 0
    np.testing.assert_array_equal(whole[far], picture[far])


def test_pixels_under_the_mask_are_those_that_were_made() -> None:
    picture = make_picture(64, 64)
    area = make_area(picture, box_mask(64, 64, Box(10, 20, 30, 50)), 1.0, Shown(64))
    made = make_picture(64, 64, seed=1)
    np.testing.assert_array_equal(area.paste(made)[10:20, 30:50], made[10:20, 30:50])


def test_pasting_leaves_the_picture_it_was_made_of_alone() -> None:
    picture = make_picture(64, 64)
    before = picture.copy()
    area = make_area(picture, box_mask(64, 64, Box(10, 20, 30, 50)), 0.5, Shown(64))
    with_fill(area).paste(make_picture(64, 64, seed=1))
    np.testing.assert_array_equal(picture, before)


@given(st.integers(40, 300), st.integers(40, 300), fields)
@settings(max_examples=25, deadline=None)
def test_an_area_is_shown_at_the_size_that_the_model_wants(
    width: int, height: int, field: float
) -> None:
    mask = box_mask(width, height, Box(5, 30, 7, 33))
    area = make_area(make_picture(width, height), mask, field, Shown(256))
    shown_height, shown_width, _ = area.shown.shape
    if max(area.box.width, area.box.height) <= 4 * min(area.box.width, area.box.height):
        assert abs(shape_ceil(shown_width, shown_height) - 256) <= STEP
    assert area.mask.shape == (shown_height, shown_width)
    assert set(np.unique(area.mask)) <= {0, 255}


def test_only_areas_below_the_models_size_are_enlarged() -> None:
    enlarged: list[tuple[int, ...]] = []

    def enlarge(pixels: Pixels) -> Pixels:
        enlarged.append(pixels.shape)
        return pixels.repeat(4, axis=0).repeat(4, axis=1)

    picture, mask = make_picture(300, 200), box_mask(300, 200, Box(50, 150, 100, 200))
    make_area(picture, mask, 0.3, Shown(256, enlarge=enlarge))
    assert len(enlarged) == 1
    make_area(picture, mask, 0.3, Shown(64, enlarge=enlarge))
    assert len(enlarged) == 1


def test_a_fill_changes_nothing_beside_the_mask_and_hides_what_was_under_it() -> None:
    picture = np.full((64, 64, 3), 100, np.uint8)
    picture[20:40, 20:40] = 255
    mask = box_mask(64, 64, Box(18, 42, 18, 42))
    filled = fill(picture, mask)
    np.testing.assert_array_equal(filled[mask == 0], picture[mask == 0])
    assert filled[30, 30].max() < 130  # what is around is 100


def test_a_mask_grows_and_shrinks_by_whole_pixels() -> None:
    mask = box_mask(40, 30, Box(10, 20, 15, 25))
    np.testing.assert_array_equal(grow_mask(mask, 4), box_mask(40, 30, Box(6, 24, 11, 29)))
    np.testing.assert_array_equal(grow_mask(mask, -4), box_mask(40, 30, Box(14, 16, 19, 21)))
    assert not grow_mask(mask, -5).any()
    whole = np.full((30, 40), 255, np.uint8)
    np.testing.assert_array_equal(grow_mask(whole, -3), whole)  # the edge is no border of a mask


def test_a_soft_mask_is_full_under_the_mask_and_gone_32_pixels_away() -> None:
    soft = soften_mask(box_mask(100, 9, Box(0, 9, 0, 10)))[4]
    assert (soft[:10] == 255).all()
    assert (np.diff(soft[9:42].astype(int)) < 0).all()
    assert soft[10 + SOFT - 2] > 0
    assert not soft[10 + SOFT :].any()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "1", "P", "LA"])
def test_a_mask_of_any_mode_and_size_is_read(mode: str) -> None:
    drawn = Image.new("L", (20, 10))
    drawn.paste(255, (0, 0, 10, 10))
    mask = read_mask(drawn.convert(mode), 40, 20)
    assert mask.shape == (20, 40)
    assert (mask[:, :19] == 255).all()
    assert (mask[:, 21:] == 0).all()


@pytest.mark.parametrize(
    ("colour", "painted"),
    [
        ((255, 0, 130), True),  # mean 128.3, luma 91
        ((0, 255, 0), False),  # mean 85, luma 150
        ((127, 127, 128), True),
        ((127, 127, 127), False),
    ],
)
def test_a_coloured_mask_paints_where_the_mean_of_its_channels_is_above_the_middle(
    colour: tuple[int, int, int], painted: bool
) -> None:
    assert read_mask(Image.new("RGB", (4, 4), colour), 4, 4).all() == painted
    encoded = encode_image(Image.new("RGB", (4, 4), colour), "png")
    told = pytest.raises(InvalidParameter) if not painted else nullcontext()
    with told:
        check_mask(encoded, encoded, invert=False)


def test_the_channels_of_a_mask_are_averaged_after_it_is_resized() -> None:
    """One pixel of red and one of cyan: either is below the middle, both together are above it."""
    mask = Image.new("RGB", (64, 8), (255, 0, 0))
    mask.paste((0, 250, 250), (0, 0, 32, 8))
    resized_first = np.asarray(resize_lanczos(mask, 17, 8)).mean(axis=2) > 127
    np.testing.assert_array_equal(read_mask(mask, 17, 8) > 0, resized_first)


@given(
    st.tuples(*[st.integers(0, 20)] * 4),
    st.sets(st.sampled_from(SIDES)),
    st.integers(10, 50),
    st.integers(10, 50),
)
def test_outpainting_keeps_the_picture_and_masks_exactly_what_is_new(
    distances: tuple[int, int, int, int],
    chosen: set[OutpaintSide],
    width: int,
    height: int,
) -> None:
    by = margins(chosen, distances, width, height)
    picture, mask = make_picture(width, height), np.zeros((height, width), np.uint8)
    grown, painted = extend(picture, mask, by)
    assert painted.shape == (by.top + height + by.bottom, by.left + width + by.right)
    assert grown.shape == (*painted.shape, 3)
    inside = Box(by.top, by.top + height, by.left, by.left + width)
    np.testing.assert_array_equal(inside.cut(grown), picture)
    assert not inside.cut(painted).any()
    assert int((painted == 255).sum()) == painted.size - width * height


def test_a_side_grows_by_its_distance_or_by_30_percent_where_it_is_named() -> None:
    left_top: tuple[OutpaintSide, ...] = ("Left", "Top")
    assert margins(left_top, (0, 0, 0, 0), 700, 900) == Margins(210, 270, 0, 0)
    assert margins(left_top[:1], (16, 0, 24, 0), 700, 900) == Margins(16, 0, 24, 0)
    assert margins((), (0, 0, 0, 0), 700, 900) == Margins(0, 0, 0, 0)


@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([256, 1024, 2048]))
def test_sizes_are_brought_to_a_shape_ceiling_or_next_to_it(
    width: int, height: int, ceil: int
) -> None:
    made = size_of_ceil(width, height, ceil)
    assert min(made) >= 1
    if max(width, height) <= 4 * min(width, height):
        # Rounded to whole steps, a few shapes have no size of just that ceiling.
        assert abs(shape_ceil(*made) - ceil) <= STEP


def test_a_size_of_the_right_ceiling_is_left_alone() -> None:
    assert size_of_ceil(1000, 1001, 1024) == (1000, 1001)


def test_a_picture_is_described_beside_the_size_nearest_to_its_shape() -> None:
    told = size_text(1000, 500, [(1024, 1024), (1408, 704)])
    assert told == "1000 x 500, 2.0, 2:1\n1408 x 704, 2.0, 2:1"


def test_a_picture_of_the_right_size_is_not_resampled() -> None:
    picture = make_picture(30, 20)
    assert resized(picture, 30, 20) is picture
