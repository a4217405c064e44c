"""Style files and how styles wrap a prompt."""

import json
import os
import random
from pathlib import Path

import pytest

from pipeline.errors import InvalidParameter
from pipeline.request.styles import StyleLibrary, normalise_name


def write(folder: Path, file: str, *styles: tuple[str, str, str]) -> None:
    keys = ("name", "prompt", "negative_prompt")
    (folder / file).write_text(json.dumps([dict(zip(keys, s, strict=True)) for s in styles]))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("sai-anime", "SAI Anime"),
        ("mre-sumi-e symbolic", "MRE Sumi E Symbolic"),
        ("misc-3d model (special)", "Misc 3D Model (Special)"),
        ("Photo (sepia)", "Photo (Sepia)"),
        ("Fooocus V2", "Fooocus V2"),
    ],
)
def test_names_are_shown_as_fooocus_shows_them(name: str, shown: str) -> None:
    assert normalise_name(name) == shown


def test_the_special_names_come_first_and_fooocus_files_last_in_its_order(tmp_path: Path) -> None:
    write(tmp_path, "sdxl_styles_sai.json", ("sai-anime", "", ""))
    write(tmp_path, "sdxl_styles_fooocus.json", ("Fooocus Sharp", "", ""))
    write(tmp_path, "zz_mine.json", ("my own", "", ""))
    expected = ("Fooocus V2", "Random Style", "My Own", "Fooocus Sharp", "SAI Anime")
    assert StyleLibrary(tmp_path).names() == expected


def test_a_style_with_a_place_for_the_prompt_takes_it_in(tmp_path: Path) -> None:
    write(tmp_path, "a.json", ("one", "photo of {prompt}, sharp", "blurry\nugly"), ("two", "x", ""))
    positives, negatives = StyleLibrary(tmp_path).apply(["One", "Two"], "a cat")
    assert positives == ["photo of a cat, sharp", "x"]
    assert negatives == ["blurry", "ugly"]


def test_without_such_a_place_the_prompt_comes_first(tmp_path: Path) -> None:
    write(tmp_path, "a.json", ("two", "x\ny", "n"))
    assert StyleLibrary(tmp_path).apply(["Two"], "a cat") == (["a cat", "x", "y"], ["n"])
    assert StyleLibrary(tmp_path).apply([], "a cat") == (["a cat"], [])


def test_an_unknown_style_is_named_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="Nope") as caught:
        StyleLibrary(tmp_path).check(["Fooocus V2", "Nope"])
    assert caught.value.field == ("style_selections", 1)


def test_random_styles_come_from_the_given_stream(tmp_path: Path) -> None:
    names = [f"style {c}" for c in "abcdefgh"]
    write(tmp_path, "a.json", *((n, "", "") for n in names))
    library = StyleLibrary(tmp_path)
    rng = random.Random(3)
    expected = tuple(rng.choice(library.names()[2:]) for _ in range(2))
    asked = ["Random Style", "Fooocus V2", "Random Style"]
    assert library.draw(asked, random.Random(3)) == expected


def test_a_changed_file_is_seen_and_a_broken_one_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, "a.json", ("one", "", ""))
    (tmp_path / "b.json").write_text("[{")
    library = StyleLibrary(tmp_path)
    assert library.names()[2:] == ("One",)
    write(tmp_path, "a.json", ("two", "", ""))
    os.utime(tmp_path / "a.json", ns=(1, 1))
    assert library.names()[2:] == ("Two",)
