"""The two event streams on a real queue without a device."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from bus.bus import EventBus
from handlers.http.errors import error_middleware
from handlers.keys import BUS, EXECUTOR
from handlers.live.events import events
from handlers.live.websocket import websocket
from handlers.service.tasks import Tasks
from handlers.service_keys import TASKS
from pipeline.scheduling.executor import Executor
from pipeline.scheduling.storage import TaskStorage
from storage.database import open_database
from storage.history import HistoryRepository
from storage.outputs import OutputStore
from tests.integration.event_clients import Client, NoPictures, on_ended


@pytest_asyncio.fixture
async def bus() -> EventBus:
    return EventBus(asyncio.get_running_loop(), ring_events=64)


@pytest_asyncio.fixture
async def client(bus: EventBus, tmp_path: Path) -> AsyncIterator[Client]:
    """A server of the two streams alone, with a real queue and no device."""

    async def end_streams(app: web.Application) -> None:
        app[BUS].close()

    app = web.Application(middlewares=[error_middleware])
    app[BUS] = bus
    app[EXECUTOR] = executor = Executor(bus, (), TaskStorage(NoPictures(), on_ended), queue_limit=8)
    app.add_routes([web.get("/v1/events", events), web.get("/ws", websocket)])
    app.on_shutdown.append(end_streams)
    async with open_database(tmp_path / "db.sqlite3") as database:
        app[TASKS] = Tasks(executor, HistoryRepository(database), OutputStore(tmp_path))
        async with TestClient(TestServer(app)) as running:
            yield running
