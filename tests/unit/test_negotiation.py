"""Accept and Accept-Encoding: weights by RFC 9110, read alike in both."""

import pytest

from handlers.http.negotiation import (
    by_preference,
    prefers_encoding,
    wanted_image_format,
    weights_of,
)
from handlers.http.refusal import RequestRefused

NEVER = ["q=0", "q=0.0", "q=0.000", " Q=0 ", "x=1;q=0"]
WILLING = ["q=1", "q=1.0", "q=0.001", "q=0.5", "q=.5", "x=1", "q=nonsense", "q=2", "q=-1", "q=nan"]


@pytest.mark.parametrize("weight", NEVER)
def test_a_weight_of_zero_rules_a_choice_out(weight: str) -> None:
    assert by_preference(f"image/png;{weight}") == []
    assert not prefers_encoding(f"gzip;{weight}", "gzip")
    assert wanted_image_format([f"image/png;{weight}"]) is None


@pytest.mark.parametrize("weight", WILLING)
def test_any_other_weight_allows_it(weight: str) -> None:
    assert by_preference(f"image/png;{weight}") == ["image/png"]
    assert prefers_encoding(f"gzip;{weight}", "gzip")
    assert wanted_image_format([f"image/png;{weight}"]) == "png"


def test_choices_are_in_the_order_of_their_weights_then_of_the_header() -> None:
    header = "text/html;q=0.5, image/webp, */*;q=0.1, image/png , ,image/gif;q=0"
    assert by_preference(header) == ["image/webp", "image/png", "text/html", "*/*"]
    assert weights_of("") == {}


@pytest.mark.parametrize(
    ("header", "compressed"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("br, gzip;q=0.8", True),
        ("*", True),
        ("gzip, identity", True),
        ("identity, *;q=0.5", False),
        ("gzip;q=0.5, identity;q=1", False),
        ("*;q=1, gzip;q=0", False),
        ("br", False),
        ("gzipped", False),
        ("", False),
    ],
)
def test_an_encoding_is_used_where_it_is_allowed_and_not_liked_less_than_none(
    header: str, compressed: bool
) -> None:
    assert prefers_encoding(header, "gzip") is compressed


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        (["image/png"], "png"),
        (["image/*"], "png"),
        (["image/jpeg;q=0.5, image/webp"], "webp"),
        (["text/html, image/png;q=0.9"], None),
        (["image/png;q=0.1", "application/json"], None),
        (["image/tiff, image/webp"], "webp"),
        (["*/*"], None),
        ([], None),
    ],
)
def test_the_first_choice_decides_whether_a_picture_is_wanted(
    headers: list[str], wanted: str | None
) -> None:
    assert wanted_image_format(headers) == wanted


def test_only_formats_that_are_not_made_here_are_refused() -> None:
    with pytest.raises(RequestRefused) as caught:
        wanted_image_format(["image/tiff, image/avif"])
    assert (caught.value.status, caught.value.code) == (406, "not_acceptable")
