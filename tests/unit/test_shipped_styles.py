"""The style templates and wildcard files that come with the repository."""

import random
import re
from pathlib import Path

import msgspec
import pytest

from pipeline.request.styles import EXPANSION, RANDOM, StyleLibrary, Template
from pipeline.request.wildcards import Wildcards
from tools.embedded.vocabulary import COLOURS, FULL

ROOT = Path(__file__).resolve().parents[2]
STYLES = ROOT / "sdxl_styles"
WILDCARDS = ROOT / "wildcards"
LEGAL = tuple(Path(__file__).with_name("style_names.txt").read_text().splitlines())

TEMPLATES = [
    style
    for path in sorted(STYLES.glob("sdxl_styles_*.json"))
    for style in msgspec.json.decode(path.read_bytes(), type=list[Template], strict=True)
]
LISTS = sorted(WILDCARDS.glob("*.txt"))


@pytest.fixture(scope="module")
def library() -> StyleLibrary:
    return StyleLibrary(STYLES)


def lines(name: str) -> list[str]:
    return (WILDCARDS / f"{name}.txt").read_text(encoding="utf-8").splitlines()


def test_every_style_that_fooocus_knows_is_there_in_its_order(library: StyleLibrary) -> None:
    assert library.names() == LEGAL


def test_no_style_is_given_twice() -> None:
    assert len({style.name for style in TEMPLATES}) == len(TEMPLATES) == len(LEGAL) - 2
    assert len({(style.prompt, style.negative_prompt) for style in TEMPLATES}) == len(TEMPLATES)


@pytest.mark.parametrize("style", TEMPLATES, ids=lambda style: style.name)
def test_a_template_says_something_on_one_line_and_takes_the_prompt_once(style: Template) -> None:
    assert style.prompt or style.negative_prompt
    assert style.prompt.count("{prompt}") == (1 if style.prompt else 0)
    assert "{" not in style.prompt.replace("{prompt}", "") + style.negative_prompt
    for text in (style.prompt, style.negative_prompt):
        assert text == text.strip()
        assert len(text.splitlines()) <= 1, "each line would be encoded as a text of its own"


@pytest.mark.parametrize("name", [name for name in LEGAL if name not in (EXPANSION, RANDOM)])
def test_every_style_applies_and_keeps_the_prompt(library: StyleLibrary, name: str) -> None:
    positives, negatives = library.apply([name], "a red bicycle")
    assert len(positives) == 1
    assert positives[0].count("a red bicycle") == 1
    assert len(negatives) == 1


def test_all_styles_can_be_applied_together(library: StyleLibrary) -> None:
    positives, _negatives = library.apply(library.names()[2:], "a red bicycle")
    assert len(positives) == sum(bool(style.prompt) for style in TEMPLATES)


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.stem)
def test_a_wildcard_file_has_no_empty_or_repeated_line(path: Path) -> None:
    found = path.read_text(encoding="utf-8").splitlines()
    assert found
    assert all(line and line == line.strip() for line in found)
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.stem)
def test_every_line_of_a_wildcard_file_can_be_filled_in_fully(path: Path) -> None:
    named = set(re.findall(r"__([\w-]+)__", path.read_text(encoding="utf-8")))
    assert named <= {other.stem for other in LISTS}
    text = Wildcards(WILDCARDS).apply(f"__{path.stem}__", random.Random(1), index=0, in_order=False)
    assert "__" not in text


def test_the_embedded_model_knows_every_colour_shape_and_object_of_the_wildcards() -> None:
    assert set(lines("color")) == set(COLOURS)
    assert set(lines("shape")) <= set(FULL.shapes)
    assert set(lines("object")) <= set(FULL.objects)
