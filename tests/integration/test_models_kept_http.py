"""What people do with models over HTTP: pictures beside them, downloads, presets of their own."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from handlers.keys import MODEL_FILES, PRESETS
from pipeline.request.model_file import ModelFile
from tests.file_server import serve_files, stalls_after
from tests.integration.fake_device import FakeDevice, encode
from tests.integration.serving import Focal, serve

SIZE = 3_000_000


async def post(focal: Focal, path: str, status: int = 200, **body: object) -> Any:
    async with focal.session.post(path, json=body) as answer:
        assert answer.status == status, await answer.text()
        return await answer.json()


async def until(focal: Focal, state: str, received: int = 0) -> dict[str, Any]:
    """Wait until the one download is in that state and has so many bytes."""
    async with asyncio.timeout(20):
        while True:
            (found,) = (await focal.get("/v1/models/downloads"))["downloads"]
            if found["state"] == state and found["received"] >= received:
                return dict(found)
            await asyncio.sleep(0.02)


async def test_a_model_has_the_picture_and_the_note_beside_it(focal: Focal) -> None:
    folder = focal.folder / "models" / "loras" / "sub"
    folder.mkdir(parents=True)
    (folder / "soft.safetensors").touch()
    (folder / "bare.safetensors").touch()
    picture = encode("png", 3)
    (folder / "soft.preview.png").write_bytes(picture)
    (folder / "soft.txt").write_text("  Weight 0.6. \n")
    bare, soft = (await focal.get("/v1/models"))["loras"]
    assert (soft["has_picture"], soft["notes"]) == (True, "Weight 0.6.")
    assert "has_picture" not in bare
    query = {"folder": "loras", "name": "sub/soft.safetensors"}
    async with focal.session.get("/v1/models/picture", params=query) as answer:
        assert answer.headers["Content-Type"] == "image/png"
        assert await answer.read() == picture
    await focal.get("/v1/models/picture", 404, folder="loras", name="sub/bare.safetensors")
    await focal.get("/v1/models/picture", 404, folder="loras", name="../loras/sub/soft.safetensors")
    await focal.get("/v1/models/picture", 422, folder="..", name="x")


async def test_a_download_is_paused_and_gone_on_with(tmp_path: Path) -> None:
    with serve_files(bytes(SIZE)) as files:
        async with serve(tmp_path, FakeDevice(), downloads="allow") as focal:
            known = ModelFile("vae", "big.bin", f"{files.url}/big.bin")
            focal.app[MODEL_FILES].published = lambda: {("vae", known.name): known}  # type: ignore[method-assign]
            files.answers.append(stalls_after(SIZE // 2))
            body: dict[str, Any] = {"folder": "vae", "name": "big.bin"}
            await post(focal, "/v1/models/downloads", **body)
            await until(focal, "running", received=1)
            paused = await post(focal, "/v1/models/downloads/pause", **body)
            assert paused["downloads"][0]["state"] == "paused"
            files.gone_on.set()
            target = tmp_path / "models" / "vae" / "big.bin"
            assert not target.exists()
            await post(focal, "/v1/models/downloads", **body)
            done = await until(focal, "done")
            assert (done["received"], done["total"]) == (SIZE, SIZE)
            assert target.read_bytes() == bytes(SIZE)
            await post(focal, "/v1/models/downloads", 404, folder="vae", name="nobody-knows")
            await post(focal, "/v1/models/downloads/pause", 404, name="nobody-knows")


async def test_a_server_that_fetches_nothing_says_so(focal: Focal) -> None:
    known = ModelFile("vae", "big.bin", "http://127.0.0.1:9/big.bin")
    focal.app[MODEL_FILES].published = lambda: {("vae", known.name): known}  # type: ignore[method-assign]
    reply = await post(focal, "/v1/models/downloads", 503, folder="vae", name="big.bin")
    assert reply["code"] == "model_not_installed"


async def test_a_preset_is_saved_renamed_and_deleted(
    focal: Focal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "presets"
    folder.mkdir()
    store = focal.app[PRESETS]
    (folder / "embedded.json").write_bytes((store.folder / "embedded.json").read_bytes())
    monkeypatch.setattr(store, "_folder", folder)
    record = await focal.generate({"prompt": "a boat", "guidance_scale": 3.5})
    body: dict[str, Any] = {"name": "Boats", "parameters": record["req_params"]}
    assert await post(focal, "/v1/presets", **body) == {"name": "Boats"}
    assert (await post(focal, "/v1/presets", 409, **body))["code"] == "preset_exists"
    await post(focal, "/v1/presets", **body, replace=True)
    again = await focal.generate({"preset": "Boats"})
    for field in ("prompt", "guidance_scale", "aspect_ratios_selection", "base_model_name"):
        assert again["req_params"][field] == record["req_params"][field]
    await post(focal, "/v1/presets/rename", name="Boats", to="Ships")
    await post(focal, "/v1/presets/rename", 404, name="Boats", to="Ships")
    await post(focal, "/v1/presets/rename", 422, name="Ships", to="../Ships")
    named = [preset["name"] for preset in (await focal.get("/v1/models"))["presets"]]
    assert named == ["embedded", "Ships"]
    await post(focal, "/v1/presets/delete", name="Ships")
    await post(focal, "/v1/presets/delete", 409, name="embedded")
    await post(focal, "/v1/presets", 422, name="x", parameters={"guidance_scale": "many"})
