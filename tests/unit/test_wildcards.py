"""Arrays and wildcard files."""

import random
from pathlib import Path

import pytest

from pipeline.request.wildcards import MAX_CHARS, MAX_FILLED, Wildcards, apply_arrays


def fill(folder: Path, text: str, *, seed: int = 1, index: int = 0, in_order: bool = False) -> str:
    rng = random.Random(seed)
    return Wildcards(folder).apply(text, rng, index=index, in_order=in_order)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no arrays", ["no arrays", "no arrays"]),
        ("[[red, green]] hat", ["red hat", " green hat", "red hat"]),
        ("[[a,b]] [[1,2]]", ["a 1", "b 1", "a 2", "b 2", "a 1"]),
        ("[[a,b]] and [[a,b]]", ["a and a", "b and a", "a and b"]),
        ("[[x]] one", ["x one", "x one"]),
        ("[[]] one", [" one"]),
    ],
)
def test_an_array_takes_an_item_by_the_number_of_the_picture(
    text: str, expected: list[str]
) -> None:
    assert [apply_arrays(text, i) for i in range(len(expected))] == expected


def test_wildcards_in_order_go_through_the_lines_and_start_again(tmp_path: Path) -> None:
    (tmp_path / "color.txt").write_text("red\n\ngreen\n")
    texts = [fill(tmp_path, "a __color__ hat", index=i, in_order=True) for i in range(3)]
    assert texts == ["a red hat", "a green hat", "a red hat"]


def test_random_wildcards_come_from_the_given_stream_one_draw_each(tmp_path: Path) -> None:
    lines = [f"line{i}" for i in range(50)]
    (tmp_path / "w.txt").write_text("\n".join(lines))
    rng = random.Random(7)
    assert fill(tmp_path, "__w__ __w__", seed=7) == f"{rng.choice(lines)} {rng.choice(lines)}"


def test_a_line_may_name_another_file_in_a_folder_below(tmp_path: Path) -> None:
    (tmp_path / "outer.txt").write_text("big __inner__")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "inner.txt").write_text("cat")
    assert fill(tmp_path, "a __outer__") == "a big cat"


@pytest.mark.parametrize("text", ["__missing__ cat", "__empty__ cat"])
def test_without_lines_the_word_itself_stays(tmp_path: Path, text: str) -> None:
    (tmp_path / "empty.txt").write_text("\n\n")
    assert fill(tmp_path, text) == text.replace("__", "")


@pytest.mark.parametrize("name", ["a" * 252, "a" * 16_000, "-" * 256])
def test_a_name_longer_than_a_file_name_may_be_stays_text(tmp_path: Path, name: str) -> None:
    (tmp_path / "color.txt").write_text("red")
    assert fill(tmp_path, f"a __{name}__ __color__") == f"a {name} red"


def test_a_line_of_underscores_stays_one(tmp_path: Path) -> None:
    assert set(fill(tmp_path, "_" * 300)) == {"_"}


def test_more_wildcards_than_a_text_may_hold_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "color.txt").write_text("red")
    filled = fill(tmp_path, "__color__ " * (MAX_FILLED + 1))
    assert filled == "red " * MAX_FILLED + "__color__ "


def test_a_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "wild").mkdir()
    assert "secret" not in fill(tmp_path / "wild", "__../secret__").replace("../secret", "")


def test_a_file_that_names_itself_ends(tmp_path: Path) -> None:
    (tmp_path / "loop.txt").write_text("__loop__ __loop__")
    assert len(fill(tmp_path, "__loop__")) <= MAX_CHARS
