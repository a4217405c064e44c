"""The examination calls right what is right, and training goes on where it was ended."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tools.embedded.architecture import Architecture, build_vae
from tools.embedded.captions import Triple
from tools.embedded.card import BEGIN, END, update_card
from tools.embedded.dataset import as_tensor, draw_pixels
from tools.embedded.evaluate import evaluate, examination
from tools.embedded.metrics import draw_triple, judge, shape_templates, summary
from tools.embedded.pictures import held_out_triples
from tools.embedded.tokenizer import ensure_tokenizers
from tools.embedded.train import TrainingPlan, train
from tools.embedded.vae import whiten_latents
from tools.embedded.vocabulary import FULL, SCOPES

pytestmark = pytest.mark.slow  # how the embedded model was made, not what it does

TINY = Architecture(
    channels=(8, 8), heads=(1, 1), text_width=8, text_layers=(1, 1), text_heads=1, time_width=4
)


@pytest.mark.parametrize("scope", SCOPES)
def test_drawn_pictures_are_called_right(scope: str) -> None:
    templates = shape_templates()
    asked = examination(scope, 40)
    verdicts = [judge(draw_triple(triple, i), triple, templates) for i, triple in enumerate(asked)]
    assert min(summary(verdicts).values()) >= 0.95


@pytest.mark.parametrize("shape", FULL.shapes)
def test_another_shape_or_colour_is_called_wrong(shape: str) -> None:
    templates = shape_templates()
    picture = draw_triple(Triple("red", shape, "white"), 1)
    other = "square" if shape != "square" else "star"
    assert judge(picture, Triple("red", shape, "white"), templates) == (True, True, True)
    assert not judge(picture, Triple("red", other, "white"), templates).shape
    assert not judge(picture, Triple("blue", shape, "white"), templates).figure_colour
    assert not judge(picture, Triple("red", shape, "cyan"), templates).background_colour


def test_an_empty_picture_has_no_shape() -> None:
    blank = Image.new("RGB", (256, 256), "white")
    verdict = judge(blank, Triple("red", "circle", "white"), shape_templates())
    assert not verdict.figure_colour
    assert summary([verdict])["all"] == 0


def test_all_held_out_triples_are_asked_before_one_is_asked_again() -> None:
    held_out = held_out_triples(SCOPES["small"].shapes)
    asked = examination("small", len(held_out))
    assert set(asked) == set(held_out)
    assert examination("small", len(held_out) + 1)[-1] == asked[0]


def test_the_figures_of_a_perfect_painter_reach_the_model_card(tmp_path: Path) -> None:
    asked = examination("small", 16)
    result = evaluate(lambda _prompt, seed: draw_triple(asked[seed], seed), "small", 16)
    assert result["model"] == result["drawn"]
    card = tmp_path / "README.md"
    card.write_text(f"# Card\n{BEGIN}\nold\n{END}\nlast line\n")
    update_card(card, result, 1_234_567, 11_100_000)
    text = card.read_text()
    assert "1,234,567 samples" in text
    assert "11.1 MB" in text
    assert "old" not in text
    assert text.endswith("last line\n")


def make_training_folder(folder: Path) -> TrainingPlan:
    """A model folder with a vocabulary, and two sizes of random latents with captions."""
    ensure_tokenizers(folder)
    rng = np.random.default_rng(0)
    for name, size in (("square", (8, 8)), ("wide", (4, 8))):
        np.save(folder / f"{name}_z.npy", rng.normal(size=(6, 4, *size)).astype(np.float16))
        captions = [f"a red circle on {colour}" for colour in ("blue", "green", "cyan") * 2]
        (folder / f"{name}_c.json").write_text(json.dumps(captions))
    checkpoint = folder / "model.pt"
    return TrainingPlan(folder, folder, checkpoint, steps=2, batch=2, architecture=TINY)


def test_a_run_that_was_ended_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    plan = make_training_folder(tmp_path)
    # The schedule depends on the steps in all, so both runs are told the same number.
    whole = plan._replace(steps=4, checkpoint=tmp_path / "whole.pt")
    train(whole)
    train(plan._replace(steps=4, stop_after=2))
    assert torch.load(plan.checkpoint)["n"] == 4
    train(plan._replace(steps=4))
    resumed, straight = torch.load(plan.checkpoint), torch.load(whole.checkpoint)
    assert set(resumed) == {"m", "e", "o", "n"}
    assert resumed["n"] == straight["n"] == 8
    for part in ("m", "e"):
        for name, weight in straight[part].items():
            torch.testing.assert_close(resumed[part][name], weight, msg=f"{part} {name}")


def test_a_finished_run_changes_nothing_when_it_is_started_again(tmp_path: Path) -> None:
    plan = make_training_folder(tmp_path)
    train(plan)
    before = torch.load(plan.checkpoint)["m"]
    train(plan)
    after = torch.load(plan.checkpoint)["m"]
    assert all(torch.equal(after[name], weight) for name, weight in before.items())


def test_whitened_latents_have_unit_variance_and_decode_to_the_same_picture() -> None:
    torch.manual_seed(0)
    vae = build_vae().eval()
    pixels, _ = draw_pixels(0, 4, (64, 64), "small")
    x = as_tensor(pixels)
    with torch.no_grad():
        before = vae.decode(vae.encode(x).latent_dist.mode()).sample
        whiten_latents(vae, pixels)
        latents = vae.encode(x).latent_dist.mode()
        after = vae.decode(latents).sample
    scaled = latents * vae.config.scaling_factor
    torch.testing.assert_close(scaled.std((0, 2, 3)), torch.ones(4), atol=0.02, rtol=0)
    torch.testing.assert_close(after, before, atol=1e-2, rtol=0)
