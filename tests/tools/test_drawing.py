"""The embedded model's training pictures are what their captions say."""

import random
from pathlib import Path

import numpy as np
import pytest
from transformers import CLIPTokenizer

from pipeline.models.manager import EMBEDDED_FOLDER
from tools.embedded.captions import Triple, examination_prompt, triple_of
from tools.embedded.landscapes import TERRAIN, draw_landscape
from tools.embedded.metrics import border_colour, figure_colour, nearest_colour
from tools.embedded.pictures import (
    KINDS,
    draw_example,
    draw_picture,
    held_out_triples,
    is_held_out,
)
from tools.embedded.shapes import HOLLOW
from tools.embedded.styles import FILTERS, apply_style
from tools.embedded.tokenizer import END, START, ensure_tokenizers, load_tokenizers
from tools.embedded.vocabulary import FULL, LANDMARKS_OF, SCOPES, SKIES, SMALL

pytestmark = pytest.mark.slow  # how the embedded model was made, not what it does

SIZE = (64, 64)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_number_gives_the_same_picture_and_caption(kind: str) -> None:
    first, again, other = (draw_picture(seed, SIZE, kind, FULL, plain=False) for seed in (5, 5, 6))
    assert first.caption == again.caption
    assert first.image.tobytes() == again.image.tobytes()
    assert first.image.tobytes() != other.image.tobytes()


def test_the_centre_and_the_border_have_the_colours_that_the_caption_names() -> None:
    checked = 0
    for seed in range(60):
        picture = draw_picture(seed, (128, 128), "shape", FULL, plain=True)
        triple = triple_of(picture.caption, FULL.shapes)
        assert triple is not None, picture.caption
        pixels = np.asarray(picture.image, np.float64)
        border = border_colour(pixels)
        if "big" in picture.caption or "large" in picture.caption:
            continue  # it may reach into the frame
        figure = figure_colour(pixels, border, hollow=triple.shape in HOLLOW)
        assert nearest_colour(border) == triple.background, picture.caption
        if "small" not in picture.caption:  # it may stand beside the centre
            assert nearest_colour(figure) == triple.colour, picture.caption
            checked += 1
    assert checked > 30


@pytest.mark.parametrize("size", [(256, 256), (320, 192), (192, 320)])
def test_a_picture_has_the_asked_size(size: tuple[int, int]) -> None:
    assert draw_example(1, size, SMALL).image.size == size


@pytest.mark.parametrize("place", TERRAIN)
def test_every_place_can_be_drawn_under_every_sky_with_each_of_its_landmarks(place: str) -> None:
    for sky in SKIES:
        for landmark in set(LANDMARKS_OF[place]):
            image = draw_landscape((96, 64), place, sky, landmark, random.Random(1))
            assert image.size == (96, 64)


@pytest.mark.parametrize("style", FILTERS)
def test_a_style_changes_the_picture_and_keeps_its_size(style: str) -> None:
    plain = draw_picture(3, (128, 128), "object", FULL, plain=True).image
    styled = apply_style(plain, style, random.Random(1))
    assert styled.size == plain.size
    assert styled.tobytes() != plain.tobytes()


@pytest.mark.parametrize("scope", SCOPES)
def test_no_training_picture_shows_one_held_out_shape_alone(scope: str) -> None:
    shown = set()
    for seed in range(150):
        caption = draw_example(seed, (32, 32), SCOPES[scope]).caption
        triple = triple_of(caption, SCOPES[scope].shapes)
        if triple is not None:
            assert not is_held_out(triple), caption
            shown.add(triple)
    assert len(shown) > 40


def test_about_a_fifth_of_the_triples_is_held_out() -> None:
    triples = len(SMALL.shapes) * 12 * 11
    assert 0.15 < len(held_out_triples(SMALL.shapes)) / triples < 0.25


def test_the_triple_is_read_from_the_words_of_a_caption() -> None:
    triple = Triple("orange", "cross", "gray")
    assert triple_of("three orange crosses on a grey background", SMALL.shapes) == triple
    assert triple_of(examination_prompt(triple), SMALL.shapes) == triple
    assert triple_of("a red cat on a blue background", SMALL.shapes) is None
    line_art = "black and white line art, a red ring on green"
    assert triple_of(line_art, SMALL.shapes) == Triple("red", "ring", "green")


@pytest.fixture(scope="module")
def new_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> CLIPTokenizer:
    folder = tmp_path_factory.mktemp("model")
    assert ensure_tokenizers(folder)
    return load_tokenizers(folder)[0]


def test_captions_cost_one_token_a_word(new_tokenizer: CLIPTokenizer) -> None:
    for seed in range(60):
        caption = draw_example(seed, (32, 32), FULL).caption
        tokens = new_tokenizer.tokenize(caption)
        assert all(token.endswith("</w>") for token in tokens), (caption, tokens)


@pytest.mark.parametrize("folder", ["tokenizer", "tokenizer_2"])
def test_captions_have_no_unknown_pieces_in_the_shipped_vocabulary(folder: str) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(EMBEDDED_FOLDER / folder)
    for seed in range(60):
        numbers = tokenizer(draw_example(seed, (32, 32), SMALL).caption).input_ids
        assert numbers[0] == tokenizer.convert_tokens_to_ids(START)
        assert numbers.index(tokenizer.convert_tokens_to_ids(END)) == len(numbers) - 1


def test_a_vocabulary_that_is_there_stays(tmp_path: Path) -> None:
    for folder in ("tokenizer", "tokenizer_2"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "vocab.json").write_text("{}")
    assert not ensure_tokenizers(tmp_path, ["other words"])
    assert (tmp_path / "tokenizer" / "vocab.json").read_text() == "{}"
