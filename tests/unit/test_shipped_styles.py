"""The style templates and wildcard files that come with the repository, a test a file.

A test goes on after a fault and reports all that it found.
"""

import random
import re
from collections import Counter
from collections.abc import Iterator
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

STYLE_FILES = sorted(STYLES.glob("sdxl_styles_*.json"))
LISTS = sorted(WILDCARDS.glob("*.txt"))


def templates(path: Path) -> list[Template]:
    return msgspec.json.decode(path.read_bytes(), type=list[Template], strict=True)


TEMPLATES = [style for path in STYLE_FILES for style in templates(path)]


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


def faults_of(style: Template) -> Iterator[str]:
    """What is wrong with a template."""
    if not (style.prompt or style.negative_prompt):
        yield "says nothing"
    if style.prompt.count("{prompt}") != (1 if style.prompt else 0):
        yield "does not take the prompt once"
    if "{" in style.prompt.replace("{prompt}", "") + style.negative_prompt:
        yield "has another brace"
    for text in (style.prompt, style.negative_prompt):
        if text != text.strip():
            yield "begins or ends with a blank"
        if len(text.splitlines()) > 1:
            yield "has two lines, which would be encoded as two texts"


@pytest.mark.parametrize("path", STYLE_FILES, ids=lambda path: path.stem)
def test_every_template_of_a_file_takes_the_prompt_once_on_one_line(path: Path) -> None:
    faults = [f"{style.name} {fault}" for style in templates(path) for fault in faults_of(style)]
    assert faults == []


@pytest.mark.parametrize("path", STYLE_FILES, ids=lambda path: path.stem)
def test_every_style_of_a_file_applies_and_keeps_the_prompt(
    library: StyleLibrary, path: Path
) -> None:
    faults = []
    for style in templates(path):
        positives, negatives = library.apply([style.name], "a red bicycle")
        if (len(positives), len(negatives)) != (1, 1) or positives[0].count("a red bicycle") != 1:
            faults.append(style.name)
    assert faults == []


def test_the_styles_without_a_template_are_the_two_that_fooocus_has() -> None:
    assert set(LEGAL) - {style.name for style in TEMPLATES} == {EXPANSION, RANDOM}


def test_all_styles_can_be_applied_together(library: StyleLibrary) -> None:
    positives, _negatives = library.apply(library.names()[2:], "a red bicycle")
    assert len(positives) == sum(bool(style.prompt) for style in TEMPLATES)


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.stem)
def test_a_wildcard_file_holds_each_line_once_and_can_be_filled_in(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = text.splitlines()
    assert found
    assert [line for line in found if not line or line != line.strip()] == []
    assert [line for line, times in Counter(found).items() if times > 1] == []
    named = set(re.findall(r"__([\w-]+)__", text))
    assert named - {other.stem for other in LISTS} == set()
    filled = Wildcards(WILDCARDS).apply(
        f"__{path.stem}__", random.Random(1), index=0, in_order=False
    )
    assert "__" not in filled


def test_the_embedded_model_knows_every_colour_shape_and_object_of_the_wildcards() -> None:
    assert set(lines("color")) == set(COLOURS)
    assert set(lines("shape")) <= set(FULL.shapes)
    assert set(lines("object")) <= set(FULL.objects)
