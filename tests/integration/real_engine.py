"""The real engine with the model that ships, where the fake device would be."""

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.engine.options import EngineOptions
from pipeline.scheduling.task import Reporter, Task
from server import start_engine
from tests.integration.fake_device import FakeDevice
from tests.integration.serving import Focal, serve

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "pipeline/embedded/model/unet/diffusion_pytorch_model.safetensors"


class EngineDevice(FakeDevice):
    """Makes each task's pictures in earnest."""

    def __init__(self) -> None:
        super().__init__()
        self.engine: Any = None

    def load(self, focal: Focal, options: EngineOptions | None = None) -> None:
        """Start the engine as the server does."""
        self.engine = start_engine("cpu", focal.app, options)

    def __call__(self, task: Task, reporter: Reporter) -> None:
        self.engine(task, reporter)

    def release(self) -> tuple[str, ...]:
        """Drop the engine's models."""
        names: tuple[str, ...] = self.engine.release()
        return names


@asynccontextmanager
async def serve_engine(folder: Path, options: EngineOptions | None = None) -> AsyncIterator[Focal]:
    """Serve the embedded model's pictures from an empty folder."""
    device = EngineDevice()
    async with serve(folder, device) as focal:
        device.load(focal, options)
        yield focal


async def fetch(focal: Focal, url: str) -> bytes:
    """The bytes of a picture."""
    async with focal.session.get(url) as answer:
        assert answer.status == 200
        return await answer.read()


async def pictures(focal: Focal, **asked: Any) -> list[bytes]:
    """The files that a request makes."""
    record = await focal.generate(asked)
    assert record["task_status"] == "finished", record
    return [await fetch(focal, url) for url in record["result"]]


def pixels(data: bytes) -> NDArray[np.float64]:
    """(H, W, 3), 0...255."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.float64)
