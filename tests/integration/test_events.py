"""The two windows on the bus, over real sockets: /v1/events and /ws."""

import asyncio
import base64
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import httpx_sse
import pytest
import pytest_asyncio
from aiohttp import ClientResponse, ClientWebSocketResponse, WSMsgType, web
from aiohttp.test_utils import TestClient, TestServer

from bus.bus import EventBus
from bus.events import TaskFailed, TaskImage, TaskPreview, TaskProgress, TaskQueued, TaskStarted
from handlers.http.errors import error_middleware
from handlers.keys import BUS, EXECUTOR
from handlers.live.events import events
from handlers.live.websocket import websocket
from handlers.service.tasks import Tasks
from handlers.service_keys import TASKS
from pipeline.request.decode import GenerateParams
from pipeline.request.resolved import resolve_params
from pipeline.scheduling.executor import Executor
from pipeline.scheduling.storage import TaskStorage
from pipeline.scheduling.task import MadeImage, Outcome, Task
from storage.database import open_database
from storage.history import HistoryRepository
from storage.outputs import OutputStore

WAIT_S = 5.0
TASK = "0123456789abcdef" * 2
STARTED = TaskStarted(device="cpu")
QUEUED = TaskQueued(position=1)

Client = TestClient[web.Request, web.Application]


class NoPictures:
    """A picture store for tasks that never run."""

    def check(self) -> None:
        """They are always there."""

    def save(self, made: MadeImage, *, task_id: str) -> str:
        raise AssertionError("nothing runs here")

    def delete(self, path: str) -> None:
        raise AssertionError("nothing runs here")


async def on_ended(task: Task, outcome: Outcome) -> None:
    """There are no rows here."""


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


async def read_sse(response: ClientResponse, count: int) -> list[dict[str, str]]:
    """The next ``count`` events, as their fields."""
    found: list[dict[str, str]] = []
    fields: dict[str, str] = {}
    async with asyncio.timeout(WAIT_S):
        while len(found) < count:
            line = (await response.content.readline()).decode()
            assert line, "the stream ended early"
            if line == "\n":
                if "data" in fields:
                    found.append(fields)
                fields = {}
            elif not line.startswith(":"):
                name, _, value = line.rstrip("\n").partition(": ")
                fields[name] = value
    return found


async def next_frame(ws: ClientWebSocketResponse) -> dict[str, Any]:
    frame: dict[str, Any] = await ws.receive_json(timeout=WAIT_S)
    return frame


async def ask(ws: ClientWebSocketResponse, **command: Any) -> dict[str, Any]:
    await ws.send_json(command)
    return await next_frame(ws)


async def settle(bus: EventBus, *published: tuple[str | None, Any]) -> None:
    """Publish, and let the loop deliver it."""
    for task_id, data in published:
        bus.publish(data, task_id)
    await asyncio.sleep(0)


def picture(index: int) -> TaskImage:
    return TaskImage(url="/outputs/a.png", seed=1, index=index)


def waiting_task(task_id: str) -> Task:
    return Task(task_id=task_id, request=resolve_params(GenerateParams()), in_queue_mills=1)


async def test_an_sse_event_has_its_name_its_number_and_the_whole_event(
    client: Client, bus: EventBus
) -> None:
    async with client.get("/v1/events") as response:
        assert response.content_type == "text/event-stream"
        await settle(bus, ("a", STARTED))
        (event,) = await read_sse(response, 1)
    assert (event["event"], event["id"]) == ("task.started", "1")
    assert event["data"].startswith('{"seq":1,"ts":')
    assert event["data"].endswith('"type":"task.started","task_id":"a","data":{"device":"cpu"}}')


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v1/events", {"Last-Event-ID": "1"}),
        ("/v1/events?since=1", {}),
        ("/v1/events?since=0", {"Last-Event-ID": "1"}),
    ],
)
async def test_a_reconnecting_sse_client_gets_what_it_missed(
    client: Client, bus: EventBus, path: str, headers: dict[str, str]
) -> None:
    await settle(bus, *[("a", picture(index)) for index in range(3)])
    async with client.get(path, headers=headers) as response:
        assert [event["id"] for event in await read_sse(response, 2)] == ["2", "3"]


async def test_a_newcomer_reconnects_from_the_id_it_was_greeted_with(
    client: Client, bus: EventBus
) -> None:
    await settle(bus, *[("a", picture(index)) for index in range(3)])
    async with client.get("/v1/events") as response, asyncio.timeout(WAIT_S):
        greeting = await response.content.readuntil(b"since 3\n")
    first_id = greeting.decode().rpartition(" ")[2].strip()
    assert first_id == "3"
    await settle(bus, ("a", STARTED))
    async with client.get("/v1/events", headers={"Last-Event-ID": first_id}) as response:
        (event,) = await read_sse(response, 1)
    assert (event["id"], event["event"]) == ("4", "task.started")


async def test_what_is_lost_is_told_as_a_gap(client: Client, bus: EventBus) -> None:
    await settle(bus, *[("a", picture(index)) for index in range(70)])
    async with client.get("/v1/events?since=2") as response:
        gap, first = await read_sse(response, 2)
    assert gap["event"] == "bus.gap"
    assert '"data":{"first":3,"last":6}' in gap["data"]
    assert first["id"] == "7"


async def test_sse_filters_by_type_and_task(client: Client, bus: EventBus) -> None:
    query = {"types": "task.started,task.image", "task_id": "b"}
    async with client.get("/v1/events", params=query) as response:
        failed = TaskFailed(code="internal", error="")
        await settle(bus, ("a", STARTED), ("b", failed), ("b", picture(0)))
        (event,) = await read_sse(response, 1)
    assert event["id"] == "3"


@pytest.mark.parametrize("path", ["/v1/events", "/ws"])
@pytest.mark.parametrize(
    ("name", "value"), [("types", "task.started,nonsense"), ("since", "soon"), ("since", "-1")]
)
async def test_a_wrong_query_is_refused_and_named(
    client: Client, path: str, name: str, value: str
) -> None:
    async with client.get(path, params={name: value}) as response:
        assert response.status == 422
        body = await response.json()
    assert body["detail"][0]["loc"] == ["query", name]
    assert body["code"] == "invalid_parameter"


async def test_an_sse_stream_that_overflows_says_so_and_ends(
    client: Client, bus: EventBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handlers.live.events.MAILBOX_LIMIT", 2)
    async with client.get("/v1/events") as response:
        await settle(bus, *[("a", picture(index)) for index in range(3)])
        (event,) = await read_sse(response, 1)
        assert event["event"] == "bus.overflow"
        assert await asyncio.wait_for(response.content.read(), WAIT_S) == b""


async def test_silence_is_filled_with_comments(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handlers.http.sse.KEEP_ALIVE_S", 0.01)
    async with client.get("/v1/events") as response, asyncio.timeout(WAIT_S):
        assert await response.content.readuntil(b": ping\n: ping\n")


async def test_a_client_library_sees_no_event_where_none_happened(
    client: Client, bus: EventBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handlers.http.sse.KEEP_ALIVE_S", 0.01)
    await settle(bus, ("a", STARTED))
    url = str(client.make_url("/v1/events"))
    async with (
        asyncio.timeout(WAIT_S),
        httpx.AsyncClient() as session,
        httpx_sse.aconnect_sse(session, "GET", url) as source,
    ):
        found = source.aiter_sse()
        for _ in range(2):  # with comments before the first event, and between the two
            next_event = asyncio.ensure_future(anext(found))
            await asyncio.wait((next_event,), timeout=0.1)
            assert not next_event.done()
            bus.publish(STARTED, "a")
            event = await next_event
            assert (event.event, event.json()["task_id"]) == ("task.started", "a")


@pytest.mark.parametrize("path", ["/v1/events", "/ws"])
async def test_types_may_be_repeated_or_joined(client: Client, bus: EventBus, path: str) -> None:
    for query in ("types=task.started&types=task.image", "types=task.started,task.image&types="):
        async with client.get(f"{path}?{query}&types=nonsense") as response:
            assert response.status == 422
        if path == "/ws":
            async with client.ws_connect(f"{path}?{query}&since={bus.last_seq}") as ws:
                await settle(bus, ("a", picture(0)), ("a", QUEUED), ("a", STARTED))
                types = [(await next_frame(ws))["type"] for _ in range(2)]
        else:
            async with client.get(f"{path}?{query}") as response:
                await settle(bus, ("a", picture(0)), ("a", QUEUED), ("a", STARTED))
                types = [event["event"] for event in await read_sse(response, 2)]
        assert types == ["task.image", "task.started"]


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


@pytest.mark.parametrize("path", ["/ws", "/v1/events"])
async def test_a_client_that_never_reads_is_cut_off_while_another_hears_everything(
    client: Client, bus: EventBus, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    for module in ("events", "websocket"):
        monkeypatch.setattr(f"handlers.live.{module}.MAILBOX_LIMIT", 8)
    monkeypatch.setattr("handlers.live.events.CLOSE_GRACE_S", 0.05)
    monkeypatch.setattr("handlers.live.websocket.CLOSE_GRACE_S", 0.05)
    large = TaskFailed(code="internal", error="x" * 500_000)
    async with client.ws_connect("/ws", max_msg_size=0) as ws:
        await next_frame(ws)
        with socket.socket() as stuck:
            await connect_without_reading(stuck, client.port or 0, path)
            assert bus.subscribers == 2
            heard = 0
            async with asyncio.timeout(2 * WAIT_S):
                while bus.subscribers == 2 or heard < 40:
                    await settle(bus, ("a", large))
                    heard += 1
                    assert (await next_frame(ws))["seq"] == heard
    assert heard < 200


async def connect_without_reading(stuck: socket.socket, port: int, path: str) -> None:
    """Open the stream on a bare socket and leave all but the first line of its head unread."""
    loop = asyncio.get_running_loop()
    stuck.setblocking(False)
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await loop.sock_connect(stuck, ("127.0.0.1", port))
    head = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    await loop.sock_sendall(stuck, head.encode())
    async with asyncio.timeout(WAIT_S):
        assert await loop.sock_recv(stuck, 12) in {b"HTTP/1.1 101", b"HTTP/1.1 200"}
