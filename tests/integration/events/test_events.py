"""The two windows on the bus, over real sockets: /v1/events and /ws."""

import asyncio
import socket

import httpx
import httpx_sse
import pytest
from aiohttp import ClientResponse

from bus.bus import EventBus
from bus.events import TaskFailed, TaskQueued
from tests.integration.event_clients import (
    STARTED,
    WAIT_S,
    Client,
    next_frame,
    picture,
    settle,
)

QUEUED = TaskQueued(position=1)


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
