"""Models and styles over HTTP."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from bus.events import CatalogChanged
from bus.subscription import Event, EventFilter, Subscription
from handlers.keys import BUS, CATALOG, MODEL_FILES, PRESETS
from handlers.service.catalog_watch import watch_catalog
from pipeline.request.model_file import ModelFile
from tests.file_server import serve_files
from tests.integration.fake_device import FakeDevice
from tests.integration.serving import Focal, serve


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


async def test_readers_of_events_hear_of_a_new_model_file(focal: Focal) -> None:
    only = EventFilter(types=frozenset({CatalogChanged.type}))
    app = focal.app
    with app[BUS].subscribe(only) as events:
        watching = asyncio.create_task(
            watch_catalog(app[BUS], app[CATALOG], app[PRESETS], seconds=0.01)
        )
        told = await _told_of_new_files(focal.folder / "models" / "loras", events)
        watching.cancel()
    assert {event.data for event in told} == {CatalogChanged()}
    assert "0.safetensors" in [one["name"] for one in (await focal.get("/v1/models"))["loras"]]


async def _told_of_new_files(folder: Path, events: Subscription) -> list[Event]:
    """New files one after another until an event comes: the first may be there too early."""
    for number in range(50):
        _touch(folder / f"{number}.safetensors")
        with suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                return list(await events.take())
    raise AssertionError("no event came")


async def test_a_missing_models_size_is_told_before_it_is_fetched(tmp_path: Path) -> None:
    with serve_files(bytes(5_000_000)) as files:
        async with serve(tmp_path, FakeDevice(), downloads="allow") as focal:
            known = ModelFile("checkpoints", "big.safetensors", f"{files.url}/big.safetensors?k=1")
            focal.app[MODEL_FILES].published = lambda: {("checkpoints", known.name): known}  # type: ignore[method-assign]
            told = await focal.get("/v1/models/source?name=big.safetensors")
            assert told == {
                "name": "big.safetensors",
                "installed": False,
                "url": f"{files.url}/big.safetensors",
                "bytes": 5_000_000,
                "allowed": True,
            }
            assert (await focal.get("/v1/models/source?name=embedded"))["installed"] is True
            await focal.get("/v1/models/source?name=nobody-knows", status=404)
            await focal.get("/v1/models/source?name=x&folder=..", status=422)
            await focal.get("/v1/models/source?name=embedded&folder=loras", status=404)
        assert not (tmp_path / "models" / "checkpoints" / "big.safetensors").exists()


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
