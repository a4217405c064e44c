"""Models and styles over HTTP."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.integration.serving import Focal


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


async def test_a_model_is_listed_with_what_its_file_says_of_its_training(focal: Focal) -> None:
    folder = focal.folder / "models" / "embeddings" / "sub"
    folder.mkdir(parents=True)
    told = {
        "ss_base_model_version": "sdxl_base_v1-0",
        "ss_resolution": "(1024, 1024)",
        "modelspec.trigger_phrase": "by someone",
    }
    save_file({"clip_l": torch.ones(2, 16)}, folder / "x.safetensors", told)
    models: dict[str, Any] = await focal.get("/v1/models")
    (listed,) = models["embeddings"]
    assert listed.pop("bytes") == (folder / "x.safetensors").stat().st_size
    assert listed == {
        "name": "sub/x.safetensors",
        "base_model": "SDXL 1.0",
        "resolution": "1024x1024",
        "trigger_words": ["by someone"],
    }


async def test_styles_are_a_list_of_names(focal: Focal) -> None:
    names = await focal.get("/v1/engines/styles")
    assert "Fooocus V2" in names
    assert len(set(names)) == len(names)


def _touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\0" * 16)


async def test_upscalers_are_listed_and_an_unknown_one_is_404(focal: Focal) -> None:
    _touch(focal.folder / "models" / "upscale_models" / "sub" / "realesr-general-x4v3.pth")
    models: dict[str, Any] = await focal.get("/v1/models")
    assert [each["name"] for each in models["upscalers"]] == ["sub/realesr-general-x4v3.pth"]
    body = {"prompt": "a cat", "upscale_model": "other.pth"}
    async with focal.session.post("/v1/engine/generate/", json=body) as answer:
        assert answer.status == 404
        assert "sub/realesr-general-x4v3.pth" in (await answer.json())["detail"]
