"""Requests for files that are missing: taken, fetched by their task, told of; or refused."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bus.events import DownloadProgress, TaskProgress
from bus.subscription import EventFilter
from handlers.keys import BUS
from pipeline.files.catalog import ModelCatalog
from pipeline.files.locate import ModelFiles
from pipeline.request.model_file import ModelFile
from pipeline.scheduling.engine_protocol import Inputs
from pipeline.scheduling.task import Reporter, Task
from pipeline.scheduling.worker_events import Download, Sink
from settings import Settings
from tests.file_server import FileServer, serve_files, stalls_after, status
from tests.integration.fake_device import FakeDevice
from tests.integration.serving import WAIT_S, Focal, serve

CONTENT = bytes(3_000_000)


class FetchingDevice(FakeDevice):
    """Needs a file before it draws."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.file = ModelFile("sam", "needed.pth", f"{url}/needed.pth")
        self.files: ModelFiles | None = None

    def build(self, settings: Settings, sink: Sink) -> "FetchingDevice":
        """Fetch into the models folder, and report it."""
        self.files = ModelFiles(
            ModelCatalog(settings.models_dir),
            allowed=settings.downloads == "allow",
            on_progress=lambda name, received, total: sink(
                Download(name=name, received=received, total=total)
            ),
        )
        return self

    def __call__(self, task: Task, reporter: Reporter, inputs: Inputs) -> None:
        assert self.files is not None
        self.files.require(self.file, reporter)
        super().__call__(task, reporter, inputs)


@pytest.fixture
def files() -> Iterator[FileServer]:
    with serve_files(CONTENT) as server:
        yield server


@pytest_asyncio.fixture
async def focal(tmp_path: Path, files: FileServer) -> AsyncIterator[Focal]:
    device = FetchingDevice(files.url)
    async with serve(tmp_path, device, downloads="allow") as served:
        yield served


async def test_a_task_fetches_what_it_needs_and_everybody_hears_of_it(focal: Focal) -> None:
    only = EventFilter(types=frozenset({DownloadProgress.type, TaskProgress.type}))
    with focal.app[BUS].subscribe(only, limit=1000) as events:
        record = await focal.generate({"prompt": "a cat"})
        told = [delivery.data for delivery in await events.take(1000)]
    assert record["task_status"] == "finished"
    assert (focal.folder / "models" / "sam" / "needed.pth").read_bytes() == CONTENT
    downloads = [event for event in told if isinstance(event, DownloadProgress)]
    assert downloads[-1] == DownloadProgress(
        name="needed.pth", received=len(CONTENT), total=len(CONTENT)
    )


async def queue_until(focal: Focal, beginning: str) -> tuple[str, str]:
    """Queue a task; its id and the first message of it that begins so."""
    only = EventFilter(types=frozenset({TaskProgress.type}))
    with focal.app[BUS].subscribe(only, limit=1000) as events:
        task_id = await focal.queue(prompt="a cat")
        async with asyncio.timeout(WAIT_S):
            async for delivery in events:
                progress = delivery.data
                if isinstance(progress, TaskProgress) and progress.message.startswith(beginning):
                    return task_id, progress.message
    raise AssertionError(beginning)


async def test_the_tasks_own_messages_say_how_far_the_download_is(
    focal: Focal, files: FileServer
) -> None:
    files.answers = [stalls_after(2_000_000)]
    task_id, message = await queue_until(focal, "Downloading")
    assert re.fullmatch(r"Downloading needed\.pth, [012] of 3 MB \.\.\.", message)
    files.gone_on.set()
    assert (await focal.ended(task_id))["task_status"] == "finished"


async def test_a_download_that_fails_ends_its_task_and_the_next_one_fetches_it(
    focal: Focal, files: FileServer
) -> None:
    files.answers = [status(404)]
    record = await focal.ended(await focal.queue(prompt="a cat"))
    assert record["task_status"] == "failed"
    assert "needed.pth" in str(record)
    assert "404" in str(record)
    assert (await focal.generate({"prompt": "a cat"}))["task_status"] == "finished"


async def test_a_stop_ends_the_download_with_its_task(focal: Focal, files: FileServer) -> None:
    files.answers = [stalls_after(1_000_000)]
    task_id, _ = await queue_until(focal, "Downloading")
    await focal.control(action="stop", task_id=task_id)
    files.gone_on.set()
    assert (await focal.ended(task_id))["task_status"] == "stop"
    assert not (focal.folder / "models" / "sam" / "needed.pth").exists()
    assert (focal.folder / "models" / "sam" / "needed.pth.part").exists()


PRESET = {"preset": "default"}
MODEL = {"base_model_name": "juggernautXL_v8Rundiffusion.safetensors"}
FAST = {"base_model_name": "mine.safetensors", "performance_selection": "Lightning"}


@pytest.mark.parametrize("asked", [PRESET, MODEL, FAST])
async def test_missing_files_that_are_known_are_no_reason_to_refuse(
    tmp_path: Path, asked: dict[str, Any]
) -> None:
    install(tmp_path)
    async with serve(tmp_path, downloads="allow") as focal:
        record = await focal.generate(asked)
        assert record["task_status"] == "finished"  # the fake device needs none of them


@pytest.mark.parametrize("asked", [PRESET, MODEL, FAST])
async def test_where_downloads_are_forbidden_it_is_a_503_with_the_address(
    tmp_path: Path, asked: dict[str, Any]
) -> None:
    install(tmp_path)
    async with serve(tmp_path, downloads="forbid") as focal:
        reply = await focal.generate(asked, 503)
        assert reply["code"] == "model_not_installed"
        assert "https://huggingface.co/" in reply["detail"]
        assert " models/" in reply["detail"]
        assert str(tmp_path) not in reply["detail"]
        await focal.nothing_is_left()


async def test_a_name_that_nobody_knows_stays_a_404(tmp_path: Path) -> None:
    async with serve(tmp_path, downloads="allow") as focal:
        reply = await focal.generate({"base_model_name": "unheard-of.safetensors"}, 404)
        assert reply["code"] == "model_not_found"


async def test_an_earlier_model_of_the_preset_is_used_without_a_download(tmp_path: Path) -> None:
    earlier = "juggernautXL_v6Rundiffusion.safetensors"
    install(tmp_path, earlier)
    lora = tmp_path / "models" / "loras" / "sd_xl_offset_example-lora_1.0.safetensors"
    lora.parent.mkdir()
    lora.touch()
    device = FakeDevice()
    async with serve(tmp_path, device, downloads="forbid") as focal:
        await focal.generate(PRESET)
    assert device.seen[0].params.base_model_name == earlier


def install(folder: Path, name: str = "mine.safetensors") -> None:
    path = folder / "models" / "checkpoints" / name
    path.parent.mkdir(parents=True)
    path.touch()
