"""The real engine with the model that ships, where the fake device would be."""

import asyncio
import io
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bus.events import ServerStatus
from bus.subscription import EventFilter
from handlers.keys import BUS, EXECUTOR
from pipeline.engine.options import EngineOptions
from pipeline.engine.spec import build_engine
from pipeline.request.resolved import ResolvedRequest
from pipeline.scheduling.engine_protocol import Inputs, LoadedModel, TaskEnded, TaskJob
from pipeline.scheduling.task import Reporter, Task
from pipeline.scheduling.worker_events import Sink
from server import engine_spec
from settings import Settings
from tests.integration.fake_device import FakeDevice
from tests.integration.serving import WAIT_S, Focal, serve


class EngineDevice(FakeDevice):
    """Makes each task's images with the engine that the server would build."""

    def __init__(self, options: EngineOptions | None = None) -> None:
        super().__init__()
        self._options = options or EngineOptions()
        self._engine: Any = None
        self.together: list[int] = []  # how many tasks were made together, each time

    def build(self, settings: Settings, sink: Sink) -> "EngineDevice":
        """Build the engine on the CPU."""
        spec = engine_spec(settings, settings.preset)
        spec = msgspec.structs.replace(spec, device="cpu", options=self._options)
        self._engine = build_engine(spec, sink)
        return self

    def __call__(self, task: Task, reporter: Reporter, inputs: Inputs) -> None:
        self._engine(task, reporter, inputs)

    def images_together(self, request: ResolvedRequest) -> int:
        """As the engine's options say."""
        images: int = self._engine.images_together(request)
        return images

    def run_together(self, jobs: Sequence[TaskJob], ended: TaskEnded) -> None:
        """Tasks that wait together."""
        self.together.append(len(jobs))
        self._engine.run_together(jobs, ended)

    def loaded(self) -> tuple[LoadedModel, ...]:
        """The engine's models."""
        loaded: tuple[LoadedModel, ...] = self._engine.loaded()
        return loaded

    def release(self) -> tuple[str, ...]:
        """Unload the engine's models."""
        names: tuple[str, ...] = self._engine.release()
        return names


@asynccontextmanager
async def serve_engine(folder: Path, options: EngineOptions | None = None) -> AsyncIterator[Focal]:
    """Serve the embedded model's images from an empty folder, once the model is loaded."""
    async with serve(folder, EngineDevice(options)) as focal:
        with focal.app[BUS].subscribe(EventFilter(types=frozenset({ServerStatus.type}))) as changes:
            while focal.app[EXECUTOR].devices()[0].state != "ready":
                await asyncio.wait_for(anext(changes), WAIT_S)
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
