"""The event bus over WebSocket."""

import base64
from typing import Any

import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType

from bus.bus import EventBus
from bus.events import TaskPreview, TaskProgress
from handlers.keys import EXECUTOR
from pipeline.request.decode import GenerateParams
from pipeline.request.resolved import resolve_params
from pipeline.scheduling.task import Task
from tests.integration.event_clients import (
    STARTED,
    WAIT_S,
    Client,
    next_frame,
    picture,
    settle,
)

TASK = "0123456789abcdef" * 2


async def ask(ws: ClientWebSocketResponse, **command: Any) -> dict[str, Any]:
    await ws.send_json(command)
    return await next_frame(ws)


def waiting_task(task_id: str) -> Task:
    return Task(task_id=task_id, request=resolve_params(GenerateParams()), in_queue_mills=1)


async def test_a_newcomer_is_told_how_things_stand(client: Client) -> None:
    client.app[EXECUTOR].submit(waiting_task(TASK))
    async with client.ws_connect("/ws") as ws:
        hello = await next_frame(ws)
    revision = client.app[EXECUTOR].queue_revision
    state = {"pending": 1, "running": [], "paused": False, "revision": revision}
    assert hello == {"type": "hello", "seq": 2, "data": state}


async def test_websocket_replays_instead_of_greeting_when_it_says_since(
    client: Client, bus: EventBus
) -> None:
    await settle(bus, *[("a", picture(index)) for index in range(3)])
    async with client.ws_connect("/ws?since=1") as ws:
        assert [(await next_frame(ws))["seq"] for _ in range(2)] == [2, 3]


async def test_a_client_frame_widens_and_narrows_what_is_heard(
    client: Client, bus: EventBus
) -> None:
    async with client.ws_connect("/ws?types=task.started") as ws:
        await next_frame(ws)
        heard = await ask(ws, op="subscribe", types=["task.image"], task_id="b")
        assert heard == {
            "op": "subscribe",
            "types": ["task.image", "task.started"],
            "task_id": "b",
        }
        await settle(bus, ("a", STARTED), ("b", picture(0)))
        assert (await next_frame(ws))["seq"] == 2
        heard = await ask(ws, op="unsubscribe", types=["task.image"])
        assert heard["types"] == ["task.started"]
        heard = await ask(ws, op="subscribe", task_id=None)
        assert heard == {"op": "subscribe", "types": None, "task_id": None}


async def test_a_waiting_task_is_stopped_by_a_client_frame(client: Client) -> None:
    client.app[EXECUTOR].submit(waiting_task(TASK))
    async with client.ws_connect("/ws?types=task.stopped") as ws:
        await next_frame(ws)
        await ws.send_json({"op": "stop", "task_id": TASK})
        frames = [await next_frame(ws), await next_frame(ws)]
        assert {"op": "stop", "message": "Stopped"} in frames
        assert "task.stopped" in [frame.get("type") for frame in frames]
        again = await ask(ws, op="stop", task_id=TASK)
        assert again == {"op": "stop", "message": "Nothing to stop"}
        assert await ask(ws, op="skip") == {"op": "skip", "message": "Nothing to skip"}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("hello", "invalid_json"),
        ('{"x":' + "[" * 10_000, "invalid_json"),
        ('{"op": "fly"}', "invalid_frame"),
        ('{"op": "stop", "task_id": 7}', "invalid_frame"),
        ('{"op": "subscribe", "types": ["nonsense"]}', "invalid_parameter"),
    ],
)
async def test_a_bad_client_frame_is_answered_and_the_connection_stays(
    client: Client, text: str, code: str
) -> None:
    async with client.ws_connect("/ws") as ws:
        await next_frame(ws)
        await ws.send_str(text)
        answer = await next_frame(ws)
        assert answer["code"] == code
        assert answer["error"]
        assert await ask(ws, op="ping") == {"op": "pong", "seq": 0}


async def test_a_client_frame_that_is_too_large_ends_the_connection(client: Client) -> None:
    async with client.ws_connect("/ws") as ws:
        await next_frame(ws)
        await ws.send_str(" " * 2**17)
        closed = await ws.receive(timeout=WAIT_S)
    assert closed.type in {WSMsgType.CLOSE, WSMsgType.CLOSED}
    assert ws.close_code == 1009


async def test_previews_come_as_pictures_where_asked_for(client: Client, bus: EventBus) -> None:
    image = "data:image/png;base64," + base64.b64encode(bytes(range(256)) * 300).decode()
    step = TaskProgress(progress=13, step=1, steps=4, image=1, images=1, message="")
    async with client.ws_connect("/ws?preview=binary") as ws, client.ws_connect("/ws") as plain:
        await next_frame(ws)
        await next_frame(plain)
        await settle(bus, (TASK, TaskPreview(image=image)), (TASK, step))
        frame = await ws.receive_bytes(timeout=WAIT_S)
        assert frame == b"FPV\x01\x02" + TASK.encode() + bytes(range(256)) * 300
        assert (await next_frame(ws))["type"] == "task.progress"
        assert (await next_frame(plain))["data"] == {"image": image}


async def test_a_websocket_that_overflows_is_closed_with_where_to_resume(
    client: Client, bus: EventBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handlers.live.websocket.MAILBOX_LIMIT", 2)
    async with client.ws_connect("/ws") as ws:
        await next_frame(ws)
        await settle(bus, ("a", picture(0)))
        assert (await next_frame(ws))["seq"] == 1
        await settle(bus, *[("a", picture(index)) for index in range(3)])
        closed = await ws.receive(timeout=WAIT_S)
    assert (closed.data, closed.extra) == (1013, "too slow; resync with since=1")


async def test_websockets_are_told_that_the_server_stops(client: Client, bus: EventBus) -> None:
    async with client.ws_connect("/ws") as ws:
        await next_frame(ws)
        bus.publish(STARTED, "a")
        bus.close()
        assert (await next_frame(ws))["type"] == "task.started"
        closed = await ws.receive(timeout=WAIT_S)
    assert (closed.data, closed.extra) == (1001, "the server is stopping")
