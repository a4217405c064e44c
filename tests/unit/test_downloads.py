"""Downloads ahead of a task: one transfer for each file, and none that runs for ever."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from bus.bus import EventBus
from handlers.service.downloads import Downloads
from pipeline.files.catalog import VAES, ModelCatalog
from pipeline.files.locate import ModelFiles, OnProgress
from pipeline.request.model_file import ModelFile

NAME = "big.safetensors"


class Files(ModelFiles):
    """Knows every file; a fetch waits until it is to end."""

    def __init__(self, folder: Path) -> None:
        super().__init__(ModelCatalog(folder))
        self.fetches = 0
        self.end = threading.Event()
        self.fault: Exception | None = None

    def find(self, folder: str, name: str) -> ModelFile:
        return ModelFile(folder, name, "https://files.test/x")

    def fetch(self, file: ModelFile, check: Callable[[], None], tell: OnProgress) -> None:
        self.fetches += 1
        assert self.end.wait(10)
        if self.fault is not None:
            raise self.fault


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest_asyncio.fixture
async def downloads(files: Files) -> AsyncIterator[Downloads]:
    yield Downloads(files, EventBus(asyncio.get_running_loop()))
    files.end.set()


async def ended(downloads: Downloads) -> tuple[str, str]:
    """State and error of the one download, once it does not run."""
    async with asyncio.timeout(10):
        while True:
            (view,) = downloads.all()
            if view.state != "running":
                return view.state, view.error
            await asyncio.sleep(0.01)


async def test_two_requests_at_once_begin_one_transfer(files: Files, downloads: Downloads) -> None:
    await asyncio.gather(*(downloads.start(VAES, NAME) for _ in range(4)))
    files.end.set()
    assert await ended(downloads) == ("done", "")
    assert files.fetches == 1


async def test_an_unforeseen_fault_ends_a_download(files: Files, downloads: Downloads) -> None:
    files.fault = PermissionError(13, "no entry")
    files.end.set()
    await downloads.start(VAES, NAME)
    state, error = await ended(downloads)
    assert (state, "no entry" in error) == ("failed", False)
    files.fault = None
    await downloads.start(VAES, NAME)
    assert await ended(downloads) == ("done", "")
