"""Readers of the generate endpoint's event stream."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.integration.serving import GENERATE, WAIT_S, Focal


@asynccontextmanager
async def opened(
    focal: Focal, params: dict[str, Any], **headers: str
) -> AsyncIterator[aiohttp.ClientResponse]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = {"stream_output": True, **params}
    async with focal.session.post(GENERATE, json=body, headers=named) as answer:
        assert answer.status == 200, await answer.text()
        yield answer


async def next_event(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    """The next event, read as the documented client does."""
    while True:
        line = (await asyncio.wait_for(answer.content.readline(), WAIT_S)).decode()
        assert line, "the stream ended"
        try:
            event: dict[str, Any] = json.loads(line[6:])
        except json.JSONDecodeError:
            continue
        return event


async def all_events(answer: aiohttp.ClientResponse) -> list[dict[str, Any]]:
    """The events from here on; each must be one line of data and an empty line."""
    text = (await asyncio.wait_for(answer.read(), WAIT_S)).decode()
    events = text.removeprefix("\n").split("\n\n")  # next_event leaves its empty line
    assert events.pop() == ""
    told = [event for event in events if not event.startswith(":")]
    assert all(event.startswith("data: ") and "\n" not in event for event in told)
    return [json.loads(event[6:]) for event in told]
