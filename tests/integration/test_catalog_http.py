"""Models, styles and the tools over HTTP."""

from pathlib import Path
from typing import Any

import pytest

from tests.integration.serving import Focal

PICTURE = "data:image/png;base64,iVBORw0KGgo="


async def test_models_are_read_from_disk_afresh(focal: Focal) -> None:
    before = await focal.get("/v1/engines/all-models")
    assert "embedded" in before["model_filenames"]
    lora = focal.folder / "models" / "loras" / "portraits" / "soft.safetensors"
    _touch(lora)
    _touch(focal.folder / "models" / "checkpoints" / "big.safetensors")
    after = await focal.get("/v1/engines/all-models")
    assert "portraits/soft.safetensors" in after["lora_filenames"]
    assert "big.safetensors" in after["model_filenames"]
    assert set(after) == {"model_filenames", "lora_filenames"}


async def test_styles_are_a_list_of_names(focal: Focal) -> None:
    names = await focal.get("/v1/engines/styles")
    assert "Fooocus V2" in names
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("path", ["/v1/tools/describe-image", "/v1/tools/generate_mask"])
async def test_a_tool_that_is_not_built_yet_says_so_by_name(focal: Focal, path: str) -> None:
    async with focal.session.post(path, json={"image": PICTURE}) as answer:
        body = await answer.json()
        assert (answer.status, body["code"]) == (501, "not_implemented")
        assert path.rpartition("/")[2] in body["detail"]
    await focal.nothing_is_left()


WRONG = [
    ("/v1/tools/describe-image", {}, "image"),
    ("/v1/tools/describe-image", {"image": 3}, "image"),
    ("/v1/tools/describe-image", {"image": PICTURE, "image_type": "Film"}, "image_type"),
    ("/v1/tools/generate_mask", {}, "image"),
    ("/v1/tools/generate_mask", {"image": PICTURE, "mask_model": "u3"}, "mask_model"),
    ("/v1/tools/generate_mask", {"image": PICTURE, "box_threshold": 1.1}, "box_threshold"),
    ("/v1/tools/generate_mask", {"image": PICTURE, "text_threshold": -0.1}, "text_threshold"),
    ("/v1/tools/generate_mask", {"image": PICTURE, "sam_model": "vit_x"}, "sam_model"),
    ("/v1/tools/generate_mask", {"image": PICTURE, "sam_max_detections": -1}, "sam_max_detections"),
    ("/v1/tools/generate_mask", {"image": PICTURE, "cloth_category": ""}, "cloth_category"),
    ("/v1/tools/generate_mask", {"image": PICTURE, "dino_debug": "yes"}, "dino_debug"),
]


@pytest.mark.parametrize(("path", "body", "field"), WRONG)
async def test_a_tools_wrong_field_is_named(
    focal: Focal, path: str, body: dict[str, Any], field: str
) -> None:
    async with focal.session.post(path, json=body) as answer:
        assert answer.status == 422
        assert [fault["loc"] for fault in (await answer.json())["detail"]] == [["body", field]]


async def test_a_tools_body_that_is_no_json_is_refused(focal: Focal) -> None:
    async with focal.session.post("/v1/tools/describe-image", data=b'{"image":') as answer:
        body = await answer.json()
        assert (answer.status, body["code"]) == (400, "invalid_json")
        assert "(byte 9)" in body["detail"]


def _touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\0" * 16)
