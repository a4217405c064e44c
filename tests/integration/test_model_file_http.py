"""Model files from the server, for workers that lack them."""

import asyncio
import hashlib
import json
from pathlib import Path

import pytest

from pipeline.errors import DownloadFailed
from pipeline.files.catalog import ModelCatalog
from pipeline.files.download import DownloadLimits
from pipeline.files.locate import ModelFiles
from pipeline.files.model_server import ModelServer
from pipeline.request.model_file import ModelFile
from tests.integration.fake_device import FakeDevice
from tests.integration.serving import serve

HEADER = json.dumps({"a": {"dtype": "U8", "shape": [3000], "data_offsets": [0, 3000]}}).encode()
CONTENT = len(HEADER).to_bytes(8, "little") + HEADER + bytes(range(250)) * 12
LORA = ModelFile("loras", "in a folder/a.safetensors")


def put(models_dir: Path) -> Path:
    path = models_dir / LORA.folder / LORA.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(CONTENT)
    return path


def files_of(folder: Path, url: str, key: str = "") -> ModelFiles:
    """The models folder of a worker that may fetch nothing from elsewhere."""
    server = ModelServer(url=url, key=key)
    limits = DownloadLimits(tries=1, spare_bytes=0)
    return ModelFiles(ModelCatalog(folder), allowed=False, server=server, limits=limits)


async def test_a_worker_fetches_what_it_lacks_with_its_hash(tmp_path: Path) -> None:
    put(tmp_path / "models")
    async with serve(tmp_path, FakeDevice(), api_key="k") as focal:
        files = files_of(tmp_path / "worker", focal.url, "k")
        path = await asyncio.to_thread(files.require, LORA)
        query = {"folder": LORA.folder, "name": LORA.name}
        bearer = {"Authorization": "Bearer k", "Range": "bytes=10-19"}
        async with focal.session.get("/v1/models/file", params=query, headers=bearer) as answer:
            assert (answer.status, await answer.read()) == (206, CONTENT[10:20])
            told = answer.headers["X-Linked-Etag"]
    assert path == tmp_path / "worker" / LORA.folder / LORA.name
    assert path.read_bytes() == CONTENT
    assert told == f'"{hashlib.sha256(CONTENT).hexdigest()}"'


async def test_only_listed_files_are_sent_and_only_with_the_key(tmp_path: Path) -> None:
    put(tmp_path / "models")
    (tmp_path / "models" / "secret.txt").write_text("no")
    async with serve(tmp_path, FakeDevice(), api_key="k") as focal:
        with pytest.raises(DownloadFailed, match="login"):
            await asyncio.to_thread(files_of(tmp_path / "a", focal.url).require, LORA)
        bearer = {"Authorization": "Bearer k"}
        for name in ("../secret.txt", "none.safetensors", "", "/etc/passwd"):
            query = {"folder": "loras", "name": name}
            async with focal.session.get("/v1/models/file", params=query, headers=bearer) as answer:
                assert answer.status == 404
