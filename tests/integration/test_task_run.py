"""Tasks of several stages, by the engine with the model that ships: what is kept, and what is said
of it."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from PIL import Image

from pipeline.engine.engine import Engine, load_engine
from pipeline.engine.options import EngineOptions
from pipeline.errors import ImageSkipped, TaskAborted
from pipeline.files.catalog import ModelCatalog
from pipeline.files.library import Library
from pipeline.files.locate import ModelFiles
from pipeline.files.registry import UPSCALER
from pipeline.images.embedded_text import read_text
from pipeline.images.read import open_image
from pipeline.models.image_encoder import clip_pixels
from pipeline.models.manager import EMBEDDED_FOLDER
from pipeline.models.rrdb import Network, Shape
from pipeline.request.presets import PresetStore
from pipeline.request.styles import StyleLibrary
from pipeline.request.wildcards import Wildcards
from tests.integration import tiny_vision
from tests.integration.test_engine import BLANK, GIVEN, INPUTS, ROOT, Listener, make, run
from tests.integration.tiny_vision import save_background

VARIED = {"enhance_checkbox": True, "enhance_uov_method": "Vary (Subtle)"}
STAGE_BEGINS = 3  # checks of a picture of two steps before those of its first stage
FOUND: dict[str, Any] = {
    "enhance_enabled": True,
    "enhance_mask_model": "u2netp",
    "enhance_inpaint_engine": "None",
}


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_background(folder / "rembg" / "u2netp.onnx", 320)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "copy").symlink_to(EMBEDDED_FOLDER)
    (folder / UPSCALER.folder).mkdir()
    torch.manual_seed(1)
    weights = Network(Shape(channels=4, growth=2, blocks=1, doublings=1, unshuffle=1)).state_dict()
    torch.save(weights, folder / UPSCALER.folder / UPSCALER.name)
    return folder


@pytest.fixture(scope="module")
def presets() -> PresetStore:
    return PresetStore(ROOT / "presets", "embedded")


@pytest.fixture(scope="module")
def engine(models_dir: Path, presets: PresetStore) -> Engine:
    library = Library(
        ModelFiles(ModelCatalog(models_dir), allowed=False),
        presets,
        StyleLibrary(ROOT / "sdxl_styles"),
        Wildcards(ROOT / "wildcards"),
    )
    return load_engine("cpu", library)


def record_of(data: bytes) -> dict[str, Any]:
    text = read_text(open_image(data))
    assert text is not None
    record: dict[str, Any] = json.loads(text.parameters)
    return record


@pytest.mark.parametrize("error", [ImageSkipped("skipped"), TaskAborted("stopped")])
def test_a_picture_that_is_finished_is_kept_when_its_enhancement_is_not(
    engine: Engine, presets: PresetStore, error: Exception
) -> None:
    listener = Listener({(1, STAGE_BEGINS): error})
    try:
        run(engine, presets, listener, **VARIED)
    except TaskAborted:
        assert isinstance(error, TaskAborted)
    (kept,) = listener.images
    assert kept.data == make(engine, presets).images[0].data


# A model that is not known, so that it is given a whole upscaler; small pictures of it are cheap.
ENLARGED: dict[str, Any] = {
    "base_model_name": "copy",
    "overwrite_width": 64,
    "overwrite_height": 64,
    "enhance_checkbox": True,
    "enhance_uov_method": "Upscale (Fast 2x)",
}


def test_a_skip_while_a_stage_enlarges_ends_the_stage(engine: Engine, presets: PresetStore) -> None:
    listener = Listener({(1, STAGE_BEGINS): ImageSkipped("skipped")})
    run(engine, presets, listener, **ENLARGED)
    assert len(listener.images) == 1


def test_the_metadata_of_an_enlarged_picture_has_its_size(
    engine: Engine, presets: PresetStore
) -> None:
    small, large = make(engine, presets, **ENLARGED).images
    assert record_of(small.data)["resolution"] == "(64, 64)"
    assert open_image(large.data).size == (1024, 1024)  # the least that this model goes over
    assert record_of(large.data)["resolution"] == "(1024, 1024)"


def test_a_picture_in_which_nothing_is_found_is_said_to_be_nobodys(
    engine: Engine, presets: PresetStore
) -> None:
    made = make(engine, presets, enhance_input_image=BLANK, enhance_ctrls=[FOUND])
    (same,) = made.images
    assert np.asarray(open_image(same.data)).max() == 0
    assert read_text(open_image(same.data)) is None
    assert "nothing was found" in str(made.notes["enhancement 1"])


def test_a_mask_of_which_nothing_is_left_changes_nothing(
    engine: Engine, presets: PresetStore
) -> None:
    control = FOUND | {"enhance_inpaint_erode_or_dilate": -64}
    made = make(engine, presets, enhance_input_image=GIVEN, enhance_ctrls=[control])
    (same,) = made.images
    given = open_image(INPUTS[GIVEN]).convert("RGB")
    assert open_image(same.data).convert("RGB").tobytes() == given.tobytes()
    assert "nothing left" in str(made.notes["enhancement 1"])


def test_a_picture_that_is_enhanced_is_not_said_to_be_of_the_request_s_size(
    engine: Engine, presets: PresetStore
) -> None:
    asked = {"enhance_input_image": GIVEN, "enhance_uov_method": "Vary (Subtle)"}
    made = make(engine, presets, aspect_ratios_selection="1152*896", **asked)
    assert [(each.width, each.height) for each in made.images] == [(256, 256)]
    assert "native_size" not in made.notes


def test_without_image_prompts_their_debugging_flag_changes_nothing(
    engine: Engine, presets: PresetStore
) -> None:
    plain = make(engine, presets).images
    assert make(engine, presets, debugging_cn_preprocessor=True).images == plain


def test_words_that_are_not_there_are_told_of_any_picture_and_stage(
    engine: Engine, presets: PresetStore
) -> None:
    prompt = "[[a, embedding:gone]] circle"
    made = make(engine, presets, prompt=prompt, image_number=2, overwrite_step=1)
    assert "gone" in str(made.notes["unknown_embeddings"])
    control = FOUND | {"enhance_prompt": "embedding:lost <lora:nowhere:1>"}
    made = make(engine, presets, enhance_input_image=GIVEN, enhance_ctrls=[control])
    assert "lost" in str(made.notes["unknown_embeddings"])
    assert "nowhere" in str(made.notes["unknown_loras"])


def test_a_stage_goes_on_from_the_words_of_its_own_picture(
    engine: Engine, presets: PresetStore
) -> None:
    prompt = "[[red, blue]] circle"
    made = make(engine, presets, prompt=prompt, image_number=2, overwrite_step=1, **VARIED)
    told = [record_of(each.data)["prompt"] for each in made.images]
    assert told == ["red circle", "red circle", "blue circle", "blue circle"]


def test_what_is_said_for_painting_in_is_not_said_where_a_stage_paints(
    engine: Engine, presets: PresetStore
) -> None:
    control = FOUND | {"enhance_prompt": "a green hat"}
    asked = {"enhance_input_image": GIVEN, "inpaint_additional_prompt": "a beard"}
    (made,) = make(engine, presets, **asked, enhance_ctrls=[control]).images
    assert record_of(made.data)["prompt"] == "a green hat"


def test_the_words_added_to_a_prompt_are_not_added_to_a_stages_own(
    engine: Engine, presets: PresetStore
) -> None:
    control = FOUND | {"enhance_prompt": "a green hat"}
    asked: dict[str, Any] = {
        "style_selections": ["Fooocus V2"],
        "prompt_expansion": "a red circle, vivid",
        "enhance_checkbox": True,
        "enhance_uov_method": "Vary (Subtle)",
        "enhance_ctrls": [control],
    }
    made = make(engine, presets, **asked, overwrite_step=1)
    added = [record_of(each.data)["prompt_expansion"] for each in made.images]
    assert added == ["a red circle, vivid", "a red circle, vivid", ""]
    assert made.notes["expansion"] == ["a red circle, vivid"] * 2


def test_what_has_looked_at_image_prompts_leaves_room_for_the_pictures(
    models_dir: Path, presets: PresetStore
) -> None:
    library = Library(
        ModelFiles(ModelCatalog(models_dir), allowed=False),
        presets,
        StyleLibrary(ROOT / "sdxl_styles"),
        Wildcards(ROOT / "wildcards"),
    )
    left: list[str] = []
    options = EngineOptions(ram_gb=1e-6)  # whatever may leave does
    engine = load_engine("cpu", library, lambda kind, _name: left.append(kind), options)
    make(engine, presets, controlnet_image=[{"cn_img": GIVEN}])
    assert left == ["image encoder"]


def save_checker(folder: Path, objectionable: bytes) -> None:
    """A safety checker that objects to one picture, and to what looks just like it."""
    torch.manual_seed(13)
    made = StableDiffusionSafetyChecker(tiny_vision.safety_config()).eval()
    with torch.no_grad():
        size = made.vision_model.config.image_size
        image = Image.open(io.BytesIO(objectionable))
        pooled = made.vision_model(clip_pixels(image, size))[1]
        made.concept_embeds[:] = made.visual_projection(pooled)
        made.concept_embeds_weights.fill_(0.998)
        made.special_care_embeds.normal_()
        made.special_care_embeds_weights.fill_(1.0)
    made.save_pretrained(folder)


def test_what_is_blacked_out_is_black_in_the_grid_too(
    engine: Engine, presets: PresetStore, models_dir: Path
) -> None:
    asked: dict[str, Any] = {"image_number": 2, "generate_image_grid": True}
    first = make(engine, presets, **asked).images[0]
    save_checker(models_dir / "safety_checker", first.data)
    made = make(engine, presets, **asked, black_out_nsfw=True)
    assert made.notes["blacked_out"] == [1]
    grid = np.asarray(Image.open(io.BytesIO(made.images[2].data)))
    assert not grid[:256, :256].any()
    assert grid[:256, 256:].any()
