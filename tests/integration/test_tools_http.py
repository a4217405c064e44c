"""The image tools over HTTP: the real toolbox with small models, on a fake device."""

import asyncio
import base64
import io
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import torch
from PIL import Image, ImageDraw

from handlers.keys import EXECUTOR
from pipeline.files.catalog import ModelCatalog
from pipeline.files.locate import ModelFiles
from pipeline.images.encode import encode_image
from pipeline.models.manager import ModelManager
from pipeline.request.tools import ImageType, MaskOptions
from pipeline.scheduling.engine_protocol import LoadedModel
from pipeline.vision.toolbox import Toolbox
from tests.integration import tiny_vision
from tests.integration.fake_device import FakeDevice
from tests.integration.serving import Focal, serve

DESCRIBE = "/v1/tools/describe-image"
MASK = "/v1/tools/generate_mask"
PICTURE = (
    "data:image/png;base64," + base64.b64encode(encode_image(tiny_vision.picture(), "png")).decode()
)
SAM = {"image": PICTURE, "mask_model": "sam", "dino_prompt_text": "a cat"}


class ToolDevice(FakeDevice):
    """Draws squares, and has the real tools."""

    def __init__(self, models_dir: Path) -> None:
        super().__init__()
        files = ModelFiles(ModelCatalog(models_dir), allowed=False)
        self.manager = ModelManager(files, torch.device("cpu"))
        self._tools = Toolbox(self.manager, files, torch.device("cpu"))

    def describe(self, picture: bytes, image_type: ImageType) -> str:
        """As the engine does."""
        return self._tools.describe(picture, image_type)

    def generate_mask(self, picture: bytes, options: MaskOptions) -> bytes:
        """As the engine does."""
        return self._tools.generate_mask(picture, options)

    def loaded(self) -> tuple[LoadedModel, ...]:
        """The tools' models."""
        return self.manager.loaded()

    def release(self) -> tuple[str, ...]:
        """Drop the tools' models."""
        return self.manager.release()


@pytest_asyncio.fixture
async def focal(tmp_path: Path) -> AsyncIterator[Focal]:
    async with serve(tmp_path, ToolDevice(tmp_path / "models")) as running:
        yield running


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


async def post(focal: Focal, path: str, body: object, status: int = 200) -> Any:
    async with focal.session.post(path, json=body) as answer:
        assert answer.status == status, await answer.text()
        return await answer.json()


def decoded(answer: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    image = Image.open(io.BytesIO(base64.b64decode(answer, validate=True)))
    assert (image.format, image.mode, image.size) == ("PNG", "L", (96, 64))
    return np.asarray(image)


async def test_a_photo_becomes_a_sentence(focal: Focal, models: Path) -> None:
    tiny_vision.save_captioner(models / "blip" / "blip-image-captioning-large")
    answer = await post(focal, DESCRIBE, {"image": PICTURE})
    assert set(answer) == {"describe"}
    assert answer["describe"].startswith("a ")
    await focal.nothing_is_left()


@pytest.mark.parametrize("place", ["wd14/wd-v1-4-moat-tagger-v2", "wd14", "clip_vision"])
async def test_a_drawing_becomes_tags_wherever_the_tagger_lies(
    focal: Focal, models: Path, place: str
) -> None:
    folder = tiny_vision.save_tagger(models / place)
    if place == "clip_vision":  # as Fooocus keeps it
        name = "wd-v1-4-moat-tagger-v2"
        (folder / "model.onnx").rename(folder / f"{name}.onnx")
        (folder / "selected_tags.csv").rename(folder / f"{name}.csv")
    answer = await post(focal, DESCRIBE, {"image": PICTURE, "image_type": "Anime"})
    assert answer == {"describe": r"hatsune miku \(vocaloid\), 1girl, ^_^, long hair"}


async def test_a_foreground_becomes_a_mask(focal: Focal, models: Path) -> None:
    tiny_vision.save_background(models / "rembg" / "u2netp.onnx", 320)
    mask = decoded(await post(focal, MASK, {"image": PICTURE, "mask_model": "u2netp"}))
    assert mask[32, 36] > 240  # in the red square
    assert mask[60, 4] < 25
    await focal.nothing_is_left()


async def test_fields_that_mean_nothing_to_a_tool_are_named(focal: Focal, models: Path) -> None:
    tiny_vision.save_captioner(models / "blip" / "blip-image-captioning-large")
    tiny_vision.save_background(models / "rembg" / "u2netp.onnx", 320)
    bodies = {
        DESCRIBE: {"image": PICTURE, "imageType": "Anime", "mask_model": "u2net"},
        MASK: {"image": PICTURE, "mask_model": "u2netp", "imageType": "Anime", "model": "u2net"},
        "/v1/tools/read-metadata": {"image": PICTURE, "imageType": "Anime", "caf\u00e9": 1},
    }
    named = {}
    for path, body in bodies.items():
        async with focal.session.post(path, json=body) as answer:
            assert answer.status == 200
            named[path] = answer.headers["X-Ignored-Params"]
    assert list(named.values()) == [
        "imageType, mask_model",
        "imageType, model",
        r"imageType, caf\xe9",
    ]
    async with focal.session.post(MASK, json={"image": PICTURE, "mask_model": "u2netp"}) as answer:
        assert "X-Ignored-Params" not in answer.headers


async def test_sam_finds_by_words_and_draws_the_boxes_if_asked(focal: Focal, models: Path) -> None:
    tiny_vision.save_detector(models / "grounding_dino" / "grounding-dino-tiny")
    anything = SAM | {"box_threshold": 0, "text_threshold": 0}
    boxes = decoded(await post(focal, MASK, anything | {"dino_debug": True}))
    one = decoded(await post(focal, MASK, anything | {"dino_debug": True, "sam_max_detections": 1}))
    grown = decoded(
        await post(
            focal,
            MASK,
            anything | {"dino_debug": True, "sam_max_detections": 1, "dino_erode_or_dilate": 6},
        )
    )
    assert set(np.unique(boxes)) == {0, 255}
    assert 0 < one.sum() < boxes.sum()
    assert 0 < one.sum() < grown.sum()
    assert (boxes >= one).all()
    assert (grown >= one).all()
    tiny_vision.make_sam().save_pretrained(models / "sam" / "sam-vit-base")
    mask = decoded(await post(focal, MASK, anything))
    assert set(np.unique(mask)) <= {0, 255}
    nothing = decoded(await post(focal, MASK, anything | {"box_threshold": 1}))
    assert not nothing.any()


async def test_sams_own_file_serves_as_well(focal: Focal, models: Path) -> None:
    tiny_vision.save_detector(models / "grounding_dino" / "grounding-dino-tiny")
    (models / "sam").mkdir()
    torch.save(tiny_vision.sam_original(), models / "sam" / "sam_vit_l_0b3195.pth")
    body = SAM | {"sam_model": "vit_l", "box_threshold": 0, "text_threshold": 0}
    assert decoded(await post(focal, MASK, body)).any()


MISSING = [
    (DESCRIBE, {"image": PICTURE}, ("BLIP", "blip/blip-image-captioning-base", "config.json")),
    (DESCRIBE, {"image": PICTURE, "image_type": "Anime"}, ("WD14", "wd14/", "selected_tags.csv")),
    (MASK, {"image": PICTURE}, ("isnet-general-use.onnx", "models/rembg", "https://")),
    (MASK, SAM, ("Grounding DINO", "models/grounding_dino/", "https://huggingface.co/")),
]


@pytest.mark.parametrize(("path", "body", "words"), MISSING)
async def test_a_missing_model_is_a_503_that_says_what_to_put_where(
    focal: Focal, path: str, body: dict[str, Any], words: tuple[str, ...]
) -> None:
    answer = await post(focal, path, body, 503)
    assert answer["code"] == "model_not_installed"
    for word in words:
        assert word in answer["detail"]
    await focal.nothing_is_left()


async def test_a_missing_sam_is_named_when_the_boxes_are_found(focal: Focal, models: Path) -> None:
    tiny_vision.save_detector(models / "grounding_dino" / "grounding-dino-tiny")
    answer = await post(focal, MASK, SAM, 503)
    assert "sam_vit_b_01ec64.pth" in answer["detail"]


async def test_without_onnxruntime_the_503_says_what_to_install(
    focal: Focal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    answer = await post(focal, DESCRIBE, {"image": PICTURE, "image_type": "Anime"}, 503)
    assert "pip install -r requirements-vision.txt" in answer["detail"]


async def test_a_bare_installation_draws_masks(
    focal: Focal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """u2netp comes along, and OpenCV runs it: a ball before a wall is told from the wall."""
    monkeypatch.setattr("pipeline.vision.sessions.is_installed", lambda: False)
    image = Image.new("RGB", (96, 64), (90, 130, 90))
    ImageDraw.Draw(image).ellipse((30, 12, 66, 52), fill=(230, 60, 30))
    data = base64.b64encode(encode_image(image, "png")).decode()
    mask = decoded(await post(focal, MASK, {"image": data, "mask_model": "u2netp"}))
    assert mask[32, 48] > 200
    assert mask[5, 5] < 50


async def test_a_web_page_in_a_models_place_is_called_one(focal: Focal, models: Path) -> None:
    path = models / "rembg" / "u2net.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"<!DOCTYPE html><html>Sign in</html>")
    answer = await post(focal, MASK, {"image": PICTURE, "mask_model": "u2net"}, 500)
    assert answer["code"] == "invalid_model_file"
    assert "the foreground model u2net.onnx is no ONNX model: it is a web page" in answer["detail"]
    assert str(models) not in answer["detail"]


WRONG = [
    (DESCRIBE, {}, "image"),
    (DESCRIBE, {"image": 3}, "image"),
    (DESCRIBE, {"image": "None"}, "image"),
    (DESCRIBE, {"image": PICTURE, "image_type": "Film"}, "image_type"),
    (MASK, {}, "image"),
    (MASK, {"image": PICTURE, "mask_model": "u3"}, "mask_model"),
    (MASK, {"image": PICTURE, "mask_model": "sam"}, "dino_prompt_text"),
    (MASK, SAM | {"dino_prompt_text": " \n"}, "dino_prompt_text"),
    (MASK, {"image": PICTURE, "box_threshold": 1.1}, "box_threshold"),
    (MASK, {"image": PICTURE, "text_threshold": -0.1}, "text_threshold"),
    (MASK, {"image": PICTURE, "sam_model": "vit_x"}, "sam_model"),
    (MASK, {"image": PICTURE, "sam_max_detections": -1}, "sam_max_detections"),
    (MASK, {"image": PICTURE, "dino_erode_or_dilate": 65}, "dino_erode_or_dilate"),
    (MASK, {"image": PICTURE, "cloth_category": ""}, "cloth_category"),
    (MASK, {"image": PICTURE, "dino_debug": "yes"}, "dino_debug"),
]


@pytest.mark.parametrize(("path", "body", "field"), WRONG)
async def test_a_wrong_field_is_named(
    focal: Focal, path: str, body: dict[str, Any], field: str
) -> None:
    answer = await post(focal, path, body, 422)
    assert [fault["loc"] for fault in answer["detail"]] == [["body", field]]


@pytest.mark.parametrize("path", [DESCRIBE, MASK])
async def test_bytes_that_are_no_picture_are_a_415_before_they_wait(
    focal: Focal, path: str
) -> None:
    focal.device.gate.clear()
    await focal.queue(prompt="a cat")
    await focal.started()  # the device is at work, so nothing could be answered by it
    text = base64.b64encode(b"this is a text").decode()
    assert (await post(focal, path, {"image": text}, 415))["code"] == "unreadable_image"


async def test_a_body_that_is_no_json_is_refused(focal: Focal) -> None:
    async with focal.session.post(DESCRIBE, data=b'{"image":') as answer:
        body = await answer.json()
        assert (answer.status, body["code"]) == (400, "invalid_json")
        assert "(byte 9)" in body["detail"]


async def test_a_tool_is_answered_before_the_tasks_that_wait(focal: Focal, models: Path) -> None:
    tiny_vision.save_background(models / "rembg" / "u2netp.onnx", 320)
    focal.device.gate.clear()
    first, second = await focal.queue(prompt="a"), await focal.queue(prompt="b")
    await focal.started()
    asked = asyncio.create_task(post(focal, MASK, {"image": PICTURE, "mask_model": "u2netp"}))
    async with asyncio.timeout(10):
        while not asked.done():
            focal.device.gate.set()
            await asyncio.sleep(0.01)
    decoded(await asked)
    for task_id in (first, second):
        assert (await focal.ended(task_id))["task_status"] == "finished"


async def test_a_tools_model_stays_until_it_is_unloaded(focal: Focal, models: Path) -> None:
    path = tiny_vision.save_background(models / "rembg" / "silueta.onnx", 320)
    await post(focal, MASK, {"image": PICTURE, "mask_model": "silueta"})
    assert await focal.app[EXECUTOR].unload() == ("silueta.onnx",)
    path.unlink()
    await post(focal, MASK, {"image": PICTURE, "mask_model": "silueta"}, 503)


async def test_a_picture_of_this_server_can_be_named_by_its_url(focal: Focal, models: Path) -> None:
    tiny_vision.save_tagger(models / "wd14")
    record = await focal.generate({"prompt": "a cat"})
    body = {"image": record["result"][0], "image_type": "Anime"}
    assert (await post(focal, DESCRIBE, body))["describe"].startswith("hatsune miku")
    await post(focal, DESCRIBE, {"image": "/outputs/2026-01-01/none.png"}, 404)
