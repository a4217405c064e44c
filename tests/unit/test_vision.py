"""Boxes, foregrounds, tags and mask options: what becomes of a model's outputs."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import InvalidModelFile, InvalidParameter, ModelNotInstalled
from pipeline.memory.cache import CacheEntry
from pipeline.request.choices import ClothCategory, MaskModel
from pipeline.request.schema import GenerateParams
from pipeline.request.schema_parts import EnhanceControl
from pipeline.request.tools import MaskOptions
from pipeline.vision.background import INPUTS, foreground_mask, load_foreground
from pipeline.vision.detection import Box, caption, draw_boxes
from pipeline.vision.onnx_runtime import OnnxRuntimeNetwork
from pipeline.vision.sessions import Session, Sides, open_session
from pipeline.vision.tagger import Tagger, load_tagger
from tests.integration import tiny_vision
from tests.integration.tiny_vision import picture

CPU = torch.device("cpu")


def colours() -> Image.Image:
    """Four quarters: grey, red, green, blue."""
    image = Image.new("RGB", (80, 60), (90, 90, 90))
    image.paste((250, 0, 0), (40, 0, 80, 30))
    image.paste((0, 250, 0), (0, 30, 40, 60))
    image.paste((0, 0, 250), (40, 30, 80, 60))
    return image


class ShownTo(Session):
    """Keeps what it is shown, and sees nothing in it."""

    def __init__(self, output: tuple[int, ...]) -> None:
        self.input_shape = ("batch", 40, 40, 3)
        self._output = output
        self.seen: NDArray[np.float32] = np.zeros((0,), np.float32)

    def first_output(self, values: NDArray[np.float32], gives: Sides) -> NDArray[np.float32]:
        """Zeros."""
        self.seen = values
        return np.zeros(self._output, np.float32)


@pytest.mark.parametrize("model", [model for model in INPUTS if model != "u2net_cloth_seg"])
def test_a_foreground_is_white_where_the_model_is_surest(tmp_path: Path, model: MaskModel) -> None:
    side = INPUTS[model].side
    session = open_session(tiny_vision.save_background(tmp_path / "model.onnx", side), CPU)
    mask = foreground_mask(session, model, colours(), "full")
    assert (mask.mode, mask.size) == ("L", (80, 60))
    levels = np.asarray(mask)
    assert levels[5:25, 45:75].min() >= 245  # the red quarter; resizing overshoots at its edge
    assert levels[35:55, 5:35].max() <= 10  # the green one
    assert 80 < levels[5:25, 5:35].mean() < 105  # grey: 90 of 250 of the way


@pytest.mark.parametrize(
    ("model", "side", "white"),
    [
        ("u2net", 320, (2.2489, 2.4286, 2.6400)),
        ("isnet-general-use", 1024, (0.5, 0.5, 0.5)),
        ("isnet-anime", 1024, (0.515, 0.544, 0.594)),
    ],
)
def test_the_brightest_level_is_shown_as_white(
    model: MaskModel, side: int, white: tuple[float, ...]
) -> None:
    session = ShownTo((1, 1, side, side))
    foreground_mask(session, model, Image.new("RGB", (30, 20), (128, 128, 128)), "full")
    assert session.seen.shape == (1, 3, side, side)
    assert session.seen[0, :, 5, 5] == pytest.approx(white, abs=1e-3)


@pytest.mark.parametrize(("category", "corner"), [("upper", (60, 15)), ("lower", (20, 45))])
def test_clothes_are_those_of_the_category(
    tmp_path: Path, category: ClothCategory, corner: tuple[int, int]
) -> None:
    path = tiny_vision.save_background(tmp_path / "model.onnx", 768, classes=4)
    mask = foreground_mask(open_session(path, CPU), "u2net_cloth_seg", colours(), category)
    assert mask.getpixel(corner) == 255
    assert 0.24 < np.asarray(mask).mean() / 255 < 0.26


def test_a_picture_of_one_colour_has_no_foreground(tmp_path: Path) -> None:
    session = open_session(tiny_vision.save_background(tmp_path / "model.onnx", 320), CPU)
    for colour in ("black", "white"):
        mask = foreground_mask(session, "u2netp", Image.new("RGB", (9, 7), colour), "full")
        assert mask.getextrema() == (0, 0)


def test_a_file_that_is_no_onnx_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "u2net.onnx"
    path.write_bytes(b"<html>no such file</html>")
    with pytest.raises(InvalidModelFile, match=r"u2net\.onnx is no ONNX model"):
        open_session(path, CPU)


def test_an_onnx_model_of_another_size_is_refused(tmp_path: Path) -> None:
    session = open_session(tiny_vision.save_background(tmp_path / "isnet-anime.onnx", 320), CPU)
    with pytest.raises(InvalidModelFile, match="another model than its name says"):
        foreground_mask(session, "isnet-anime", picture(), "full")


def test_without_onnxruntime_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    folder = tiny_vision.save_tagger(tmp_path)
    with pytest.raises(ModelNotInstalled, match=r"pip install -r requirements-vision\.txt"):
        load_tagger(folder / "model.onnx", folder / "selected_tags.csv", CPU)


def test_tags_are_the_sure_ones_characters_first_as_a_prompt_reads_them(tmp_path: Path) -> None:
    folder = tiny_vision.save_tagger(tmp_path)
    tagger = load_tagger(folder / "model.onnx", folder / "selected_tags.csv", CPU)
    assert tagger.describe(picture()) == r"hatsune miku \(vocaloid\), 1girl, ^_^, long hair"


def test_the_tagger_is_shown_blue_first_on_a_white_square() -> None:
    session = ShownTo((1, 0))
    assert Tagger(session, []).describe(Image.new("RGB", (20, 10), (200, 100, 50))) == ""
    assert session.seen.shape == (1, 40, 40, 3)
    assert session.seen[0, 20, 20].tolist() == [50.0, 100.0, 200.0]
    assert session.seen[0, 2, 20].tolist() == [255.0, 255.0, 255.0]


def test_a_table_of_another_tagger_is_refused(tmp_path: Path) -> None:
    one = tiny_vision.save_tagger(tmp_path / "one")
    other = tiny_vision.save_tagger(tmp_path / "other", tiny_vision.TAGS[:3])
    tagger = load_tagger(one / "model.onnx", other / "selected_tags.csv", CPU)
    with pytest.raises(InvalidModelFile, match="do not belong together"):
        tagger.describe(picture())


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    folder = tiny_vision.save_tagger(tmp_path)
    (folder / "selected_tags.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(InvalidModelFile, match="no table of tags"):
        load_tagger(folder / "model.onnx", folder / "selected_tags.csv", CPU)


def test_boxes_grow_within_the_picture_and_vanish_when_shrunk_to_nothing() -> None:
    box = Box(10, 20, 30, 40)
    assert box.grown(5, 100, 100) == Box(5, 15, 35, 45)
    assert box.grown(64, 50, 60) == Box(0, 0, 50, 60)
    assert box.grown(-4, 100, 100) == Box(14, 24, 26, 36)
    assert box.grown(-10, 100, 100) is None


def test_drawn_boxes_are_white_on_black() -> None:
    drawn = np.asarray(draw_boxes([Box(10, 20, 30, 40), Box(0.4, 0, 1.4, 1)], 50, 60))
    assert drawn.shape == (60, 50)
    assert drawn[20:40, 10:30].min() == 255
    assert (drawn == 255).sum() == 20 * 20 + 1


@pytest.mark.parametrize("prompt", ["A Cat", " a cat. ", "a cat."])
def test_a_prompt_becomes_a_caption_of_small_letters_and_a_full_stop(prompt: str) -> None:
    assert caption(prompt) == "a cat."


def test_options_of_an_enhancement_come_from_the_control_and_the_request() -> None:
    control = EnhanceControl(
        enhance_mask_dino_prompt="hand",
        enhance_mask_model="sam",
        enhance_mask_cloth_category="upper",
        enhance_mask_sam_model="vit_h",
        enhance_mask_box_threshold=0.4,
        enhance_mask_text_threshold=0.2,
        enhance_mask_sam_max_detections=2,
    )
    params = GenerateParams(dino_erode_or_dilate=7, debugging_dino=True)
    assert MaskOptions.of_enhancement(control, params) == MaskOptions(
        mask_model="sam",
        cloth_category="upper",
        prompt="hand",
        sam_model="vit_h",
        box_threshold=0.4,
        text_threshold=0.2,
        max_detections=2,
        grow=7,
        only_boxes=True,
    )


def test_only_sam_has_to_be_told_what_to_look_for() -> None:
    MaskOptions().check(("dino_prompt_text",))
    MaskOptions(mask_model="sam", prompt="cat").check(("dino_prompt_text",))
    with pytest.raises(InvalidParameter) as caught:
        MaskOptions(mask_model="sam", prompt="  ").check(("dino_prompt_text",))
    assert caught.value.field == ("dino_prompt_text",)


class Cramped:
    """An onnxruntime session on a device that is full."""

    def run(self, _outputs: object, _given: object, _options: object) -> None:
        from onnxruntime.capi import onnxruntime_pybind11_state  # noqa: PLC0415

        told = "Failed to allocate memory for requested buffer of size 157286400"
        raise onnxruntime_pybind11_state.RuntimeException(told)


def test_a_lack_of_memory_is_not_taken_for_another_model(tmp_path: Path) -> None:
    path = tiny_vision.save_background(tmp_path / "u2net.onnx", 320)
    network = OnnxRuntimeNetwork(path, "foreground model", CPU)
    network._session = Cramped()
    with pytest.raises(MemoryError, match=r"u2net\.onnx"):
        Session(network, "u2net.onnx", 0).first_output(np.zeros((1, 3, 320, 320), np.float32), ())


def without_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.vision.sessions.is_installed", lambda: False)


@pytest.mark.parametrize("model", ["u2netp", "u2net_cloth_seg"])
def test_without_onnxruntime_opencv_draws_the_same_mask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: MaskModel
) -> None:
    classes = 4 if model == "u2net_cloth_seg" else 1
    path = tiny_vision.save_background(tmp_path / "m.onnx", INPUTS[model].side, classes)
    masks = []
    for has_onnxruntime in (True, False):
        if not has_onnxruntime:
            without_onnxruntime(monkeypatch)
        session = load_foreground(path, model, CPU)
        masks.append(np.asarray(foreground_mask(session, model, colours(), "upper"), np.int16))
    assert np.abs(masks[0] - masks[1]).max() <= 1
    assert masks[0].max() > 240


OTHERS: dict[str, Callable[[Path], Path]] = {
    "a network of another size": lambda path: tiny_vision.save_background(path, 512),
    "a network of other outputs": lambda path: tiny_vision.save_background(path, 320, classes=4),
    "a tagger": lambda path: (
        tiny_vision.save_tagger(path.parent).joinpath("model.onnx").rename(path)
    ),
}


CASES = [(engine, other) for engine in ("onnxruntime", "OpenCV") for other in OTHERS]
CASES.remove(("OpenCV", "a network of another size"))  # it runs a convolution at any size


@pytest.mark.parametrize(("engine", "other"), CASES)
def test_another_network_under_a_foreground_models_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str, engine: str
) -> None:
    path = OTHERS[other](tmp_path / "u2net.onnx")
    if engine == "OpenCV":
        without_onnxruntime(monkeypatch)
    with pytest.raises(InvalidModelFile, match=r"u2net\.onnx is another model than its name says"):
        foreground_mask(load_foreground(path, "u2net", CPU), "u2net", picture(), "full")


@pytest.mark.parametrize("engine", ["onnxruntime", "OpenCV"])
def test_a_foreground_model_under_the_taggers_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    folder = tiny_vision.save_tagger(tmp_path)
    path = tiny_vision.save_background(folder / "model.onnx", 320)
    if engine == "OpenCV":
        without_onnxruntime(monkeypatch)
    with pytest.raises(InvalidModelFile, match=r"the tagger model\.onnx is another model"):
        load_tagger(path, folder / "selected_tags.csv", CPU).describe(picture())


class Growing:
    """A network that keeps memory of each run, and gives what is no number on demand."""

    input_shape: tuple[object, ...] = (1, 3, "height", None)
    output_shape: tuple[object, ...] = ()

    def __init__(self, fill: float = 0.5) -> None:
        self._fill = fill
        self._kept: list[NDArray[np.float64]] = []

    def run(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Half everywhere."""
        self._kept.append(np.ones(8 * 2**20))
        return np.full((1, 1, *values.shape[2:]), self._fill, np.float32)


def test_what_a_session_keeps_after_a_run_counts() -> None:
    session = Session(Growing(), "foreground model x.onnx", held_bytes=1000)
    entry = CacheEntry("mask", "x", session, ())
    entry.size_bytes = 10
    assert entry.size_bytes == 1000
    session.first_output(np.zeros((1, 3, 8, 8), np.float32), (1, 1, 8, 8))
    assert 60 * 2**20 < entry.size_bytes < 200 * 2**20


def test_values_that_are_not_finite_are_refused() -> None:
    session = Session(Growing(float("nan")), "foreground model x.onnx", held_bytes=0)
    with pytest.raises(InvalidModelFile, match=r"x\.onnx gives values that are not finite"):
        session.first_output(np.zeros((1, 3, 8, 8), np.float32), (None, 1, 8, 8))
