"""Models and styles over HTTP."""

from pathlib import Path

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


async def test_styles_are_a_list_of_names(focal: Focal) -> None:
    names = await focal.get("/v1/engines/styles")
    assert "Fooocus V2" in names
    assert len(set(names)) == len(names)


def _touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\0" * 16)
