"""Upscalers and face detectors that a user installs, over HTTP, with the model that ships."""

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import torch
from numpy.typing import NDArray
from PIL import Image

from pipeline.files.registry import FACE_DETECTOR, UPSCALER
from pipeline.models.srvgg import SrvggNetwork, SrvggShape
from pipeline.models.upscaler import load_upscaler
from tests.integration.real_engine import fetch, serve_engine
from tests.integration.serving import Focal
from tests.unit.tiny_face_detector import write_detector
from tools.pictures_in.client import data_url

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAMED = "sub/compact.pth"
SIZE = (72, 56)


def save_compact(path: Path, seed: int) -> None:
    """A compact network with random weights that still shows its picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    network = SrvggNetwork(SrvggShape(channels=8, convs=2, factor=4, learned=True))
    torch.save({"params": network.state_dict()}, path)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def focal(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Focal]:
    """The server of a folder with two upscalers and a face detector."""
    folder = tmp_path_factory.mktemp("installed")
    models = folder / "models"
    save_compact(models / "upscale_models" / NAMED, seed=1)
    save_compact(models / UPSCALER.folder / UPSCALER.name, seed=2)
    (models / FACE_DETECTOR.folder).mkdir(parents=True, exist_ok=True)
    write_detector(models / FACE_DETECTOR.folder / FACE_DETECTOR.name)
    async with serve_engine(folder) as running:
        yield running


def picture() -> NDArray[np.uint8]:
    rows, columns = np.mgrid[0 : SIZE[1], 0 : SIZE[0]]
    waves = [np.sin(columns / 5), np.cos(rows / 7), np.sin((rows + columns) / 3)]
    return (np.stack(waves, axis=-1) * 120 + 127).astype(np.uint8)


def png(pixels: NDArray[np.uint8]) -> str:
    return data_url(Image.fromarray(pixels))


async def enlarged(focal: Focal, **asked: Any) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """The notes and the picture of a fast upscale, which is the upscaler's work alone."""
    record = await focal.generate(
        {
            "prompt": "",
            "uov_method": "Upscale (Fast 2x)",  # as large as the model paints: four times here
            "uov_input_image": png(picture()),
            "output_format": "png",
            "style_selections": [],
            **asked,
        }
    )
    assert record["task_status"] == "finished", record
    image = Image.open(io.BytesIO(await fetch(focal, record["result"][0]))).convert("RGB")
    return record.get("notes", {}), np.asarray(image)


def by_file(focal: Focal, name: str) -> NDArray[np.uint8]:
    return load_upscaler(focal.folder / "models" / "upscale_models" / name)(picture())


async def test_the_upscaler_that_a_request_names_makes_its_picture(focal: Focal) -> None:
    models = await focal.get("/v1/models")
    assert NAMED in [each["name"] for each in models["upscalers"]]
    notes, made = await enlarged(focal, upscale_model=NAMED)
    assert "upscaler" not in notes  # the request says it
    np.testing.assert_array_equal(made, by_file(focal, NAMED))


async def test_the_embedded_model_says_that_it_used_an_installed_upscaler(focal: Focal) -> None:
    notes, made = await enlarged(focal)
    assert notes["upscaler"] == f"{UPSCALER.name} of models/{UPSCALER.folder}"
    np.testing.assert_array_equal(made, by_file(focal, UPSCALER.name))


async def test_the_embedded_model_says_that_it_used_an_installed_face_detector(
    focal: Focal,
) -> None:
    record = await focal.generate(
        {
            "prompt": "",
            "style_selections": [],
            "output_format": "png",
            "debugging_cn_preprocessor": True,  # returns what was cut out and draws nothing
            "controlnet_image": [{"cn_img": png(picture()), "cn_type": "FaceSwap"}],
        }
    )
    assert record["task_status"] == "finished", record
    assert record["notes"]["face_detector"] == f"{FACE_DETECTOR.name} of models/controlnet"


async def test_a_named_upscaler_that_is_none_is_refused_by_name(focal: Focal) -> None:
    path = focal.folder / "models" / "upscale_models" / "page.pth"
    path.write_bytes(b"<!DOCTYPE html><title>404</title>")
    record = await focal.generate(
        {
            "prompt": "",
            "uov_method": "Upscale (Fast 2x)",
            "uov_input_image": png(picture()),
            "upscale_model": "page.pth",
        },
        status=500,
    )
    assert record["code"] == "invalid_model_file"
    assert "page.pth" in record["error"]
    assert str(focal.folder) not in record["error"]
