"""The whole application over HTTP on a free port, with a fake device in place of the model."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from handlers.http.connections import ConnectionLimits, Runner
from handlers.keys import EXECUTOR
from pipeline.scheduling.local_worker import LocalWorker
from pipeline.scheduling.worker import Worker
from server import create_app
from settings import Settings
from tests.integration.fake_device import FakeDevice

WAIT_S = 20.0
GENERATE = "/v1/engine/generate/"


class Focal:
    """A running server and a client that talks to it."""

    def __init__(self, app: web.Application, url: str, folder: Path, device: FakeDevice) -> None:
        self.app = app
        self.url = url
        self.folder = folder
        self.device = device
        self.session = aiohttp.ClientSession(url, timeout=aiohttp.ClientTimeout(total=WAIT_S))

    async def generate(
        self, params: dict[str, Any], status: int = 200, **headers: str
    ) -> dict[str, Any]:
        """POST to the generate endpoint; the JSON of its reply, whose status must be as said."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.post(GENERATE, json=params, headers=named) as answer:
            assert answer.status == status, await answer.text()
            body: dict[str, Any] = await answer.json()
            return body

    async def get(self, path: str, status: int = 200, **query: str) -> Any:
        """GET; the JSON of the reply."""
        async with self.session.get(path, params=query) as answer:
            assert answer.status == status, await answer.text()
            return await answer.json()

    async def control(self, status: int = 200, **query: str) -> Any:
        """POST to the control endpoint."""
        async with self.session.post("/v1/engine/control", params=query) as answer:
            assert answer.status == status, await answer.text()
            return await answer.json()

    async def queue(self, **params: Any) -> str:
        """Queue a task and return its id."""
        reply = await self.generate({"async_process": True, **params})
        task_id: str = reply["task_id"]
        return task_id

    async def started(self) -> None:
        """Wait until a task is on the device; the next wait is for the next task."""
        assert await asyncio.to_thread(self.device.started.wait, WAIT_S)
        self.device.started.clear()

    async def ended(self, task_id: str) -> dict[str, Any]:
        """Wait for a task's end; its record."""
        try:
            async with asyncio.timeout(WAIT_S):
                await self.app[EXECUTOR].wait(task_id)
        except KeyError:
            pass
        record: dict[str, Any] = await self.get(f"/tasks/{task_id}")
        assert record["task_status"] in ("finished", "stop", "skip", "failed")
        return record

    async def nothing_is_left(self) -> None:
        """No row, no queue entry, no file."""
        assert await self.get("/tasks") == {"history": [], "current": [], "pending": []}
        assert self.files() == []

    def files(self) -> list[str]:
        """Pictures in the outputs and inputs folders."""
        found = (path for name in ("outputs", "inputs") for path in (self.folder / name).rglob("*"))
        return sorted(
            path.relative_to(self.folder).as_posix()
            for path in found
            if path.is_file() and not path.name.startswith("db.sqlite3")
        )


@asynccontextmanager
async def serve(
    folder: Path,
    device: FakeDevice | None = None,
    routes: Iterable[web.RouteDef] = (),
    others: Iterable[Worker] = (),
    limits: ConnectionLimits | None = None,
    **options: Any,
) -> AsyncIterator[Focal]:
    """Serve from an empty folder, with ``routes`` as well, and ``others`` beside the device.

    The gate is open when the server ends.
    """
    device = device or FakeDevice()
    options.setdefault("downloads", "forbid")  # a test reaches no other machine
    settings = Settings(
        outputs_dir=folder / "outputs",
        inputs_dir=folder / "inputs",
        models_dir=folder / "models",
        preset="embedded",
        **options,
    )
    workers = [LocalWorker("fake", partial(device.build, settings)), *others]
    app = create_app(settings, workers)
    app.add_routes(routes)
    runner = Runner(app, limits)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    focal = Focal(app, f"http://{host}:{port}", folder, device)
    try:
        yield focal
    finally:
        device.gate.set()
        await focal.session.close()
        await runner.cleanup()
