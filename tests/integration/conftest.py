"""A server with a fake device for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.integration.serving import Focal, serve


@pytest_asyncio.fixture
async def focal(tmp_path: Path) -> AsyncIterator[Focal]:
    async with serve(tmp_path) as running:
        yield running
