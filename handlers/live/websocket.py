"""GET /ws: the event bus as WebSocket frames, and a few commands the other way."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from bus.subscription import Delivery, EventFilter, Subscription
from handlers.keys import BUS, EXECUTOR
from handlers.live.events import (
    BATCH,
    CLOSE_GRACE_S,
    MAILBOX_LIMIT,
    TYPE_NAMES,
    invalid_query,
    read_filter,
    read_since,
    unknown_types,
    unless_closed,
)

HEARTBEAT_S: Final = 20.0
MAX_FRAME_BYTES: Final = 16 * 1024  # of a client's frame; a larger one ends the connection
HIGH_WATER_BYTES: Final = 64 * 1024  # unsent, from which on the writer waits for the client
TEXT: Final = 0x81  # RFC 6455: a whole text frame
BINARY: Final = 0x82


class Subscribe(msgspec.Struct, tag="subscribe", tag_field="op"):
    """Hear more types, all if none are named; ``task_id`` changes the task, null means any."""

    types: list[str] | None = None
    task_id: str | msgspec.UnsetType | None = msgspec.UNSET


class Unsubscribe(msgspec.Struct, tag="unsubscribe", tag_field="op"):
    """Hear fewer types, none at all if none are named."""

    types: list[str] | None = None


class Ping(msgspec.Struct, tag="ping", tag_field="op"):
    """Is anybody there?"""


class Stop(msgspec.Struct, tag="stop", tag_field="op"):
    """End the running task, or the one named."""

    task_id: str | None = None


class Skip(msgspec.Struct, tag="skip", tag_field="op"):
    """End the picture being made."""

    task_id: str | None = None


class Pong(msgspec.Struct, tag="pong", tag_field="op"):
    """Answer to a ping."""

    seq: int


class Answer(msgspec.Struct):
    """What became of ``stop`` or ``skip``."""

    op: str
    message: str


class Listening(msgspec.Struct):
    """What the connection hears after ``subscribe`` or ``unsubscribe``; null stands for all."""

    op: str
    types: list[str] | None
    task_id: str | None


class FrameError(msgspec.Struct):
    """A client's frame that could not be used. The connection stays."""

    error: str
    code: str


class RunningTask(msgspec.Struct):
    """A task on a device, as of now."""

    task_id: str
    progress: int
    message: str


class State(msgspec.Struct):
    """What a newcomer needs to know before the first event."""

    pending: int
    running: list[RunningTask]
    paused: bool
    revision: int


class Hello(msgspec.Struct, tag="hello", tag_field="type"):
    """First frame: the state after event ``seq``."""

    seq: int
    data: State


ClientFrame = Subscribe | Unsubscribe | Ping | Stop | Skip
ServerFrame = Pong | Answer | Listening | FrameError | Hello

_decode = msgspec.json.Decoder(ClientFrame).decode
_encode = msgspec.json.Encoder().encode


async def websocket(request: web.Request) -> web.WebSocketResponse:
    """Send events until either side leaves; carry out what the client asks meanwhile."""
    wanted, since = read_filter(request), read_since(request)
    binary = _wants_binary(request)
    ws = web.WebSocketResponse(
        timeout=CLOSE_GRACE_S,
        heartbeat=HEARTBEAT_S,
        compress=False,  # it would be done once a client, and pictures do not shrink
        max_msg_size=MAX_FRAME_BYTES,
    )
    await ws.prepare(request)
    with request.app[BUS].subscribe(wanted, MAILBOX_LIMIT, since) as news:
        connection = Connection(request, ws, news, binary=binary)
        if since is None:
            connection.greet()
        await connection.run()
    return ws


def _wants_binary(request: web.Request) -> bool:
    preview = request.query.get("preview", "")
    if preview not in {"", "binary"}:
        raise invalid_query("preview", 'must be "binary" or left out')
    return preview == "binary"


class Connection:
    """One client: a task that writes what its mailbox brings, and the reading of its commands.

    Events are framed once for all clients, so they go to the transport and not through
    ``ws.send_str``, which frames anew for each. Neither masks nor compresses, so the two mix.
    """

    def __init__(
        self, request: web.Request, ws: web.WebSocketResponse, news: Subscription, *, binary: bool
    ) -> None:
        self._request = request
        self._ws = ws
        self._news = news
        self._frame = _preview_frame if binary else _text_frame
        self._last_seq = request.app[BUS].last_seq

    def greet(self) -> None:
        """Say how things stand. Before the first event, since no other task runs in between."""
        executor = self._request.app[EXECUTOR]
        running = [
            RunningTask(r.task.task_id, r.snapshot.progress, r.snapshot.message)
            for r in executor.running()
        ]
        state = State(
            pending=executor.waiting_count,
            running=running,
            paused=executor.paused,
            revision=executor.queue_revision,
        )
        if (transport := self._request.transport) is not None:
            transport.write(frame(TEXT, _encode(Hello(seq=self._last_seq, data=state))))

    async def run(self) -> None:
        """Write and read at once: a side that only writes never hears the other leave."""
        sender = asyncio.create_task(self._send_all())
        try:
            await self._receive_all()
        finally:
            if not self._news.closed:
                sender.cancel()
            await asyncio.wait((sender,))

    async def _send_all(self) -> None:
        self._news.on_ready = self._send_now
        with suppress(ConnectionError):  # the reading side notices too, and ends the handler
            while batch := await self._news.take(BATCH):
                transport = self._request.transport
                if transport is None or transport.is_closing():
                    return
                self._write(transport, batch)
                if transport.get_write_buffer_size() > HIGH_WATER_BYTES:
                    await unless_closed(self._news, self._request.writer.drain())
            await self._close()

    def _send_now(self) -> None:
        """Write to a client that keeps up without waking its task; a slow one is left to it."""
        transport = self._request.transport
        if transport is None or transport.is_closing():
            return
        if transport.get_write_buffer_size() <= HIGH_WATER_BYTES:
            self._write(transport, self._news.take_now(BATCH))

    def _write(self, transport: asyncio.Transport, batch: Sequence[Delivery]) -> None:
        made = self._frame
        if len(batch) == 1:
            transport.write(batch[0].encoded(made))
        else:
            transport.write(b"".join([delivery.encoded(made) for delivery in batch]))
        self._last_seq = batch[-1].seq

    async def _close(self) -> None:
        code, reason = WSCloseCode.GOING_AWAY, "the server is stopping"
        if self._news.overflowed:
            code = WSCloseCode.TRY_AGAIN_LATER
            reason = f"too slow; resync with since={self._last_seq}"
        await self._ws.close(code=code, message=reason.encode(), drain=False)
        if (transport := self._request.transport) is not None:
            transport.abort()  # a client that reads nothing would keep what is unsent for ever

    async def _receive_all(self) -> None:
        async for message in self._ws:
            if message.type not in {WSMsgType.TEXT, WSMsgType.BINARY}:
                return
            try:
                answer = await self._obey(_decode(message.data))
            except msgspec.ValidationError as error:
                answer = FrameError(str(error), "invalid_frame")
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                answer = FrameError(f"not JSON: {error}", "invalid_json")
            try:
                await self._ws.send_str(_encode(answer).decode())
            except ConnectionError:
                return

    async def _obey(self, command: ClientFrame) -> ServerFrame:
        executor = self._request.app[EXECUTOR]
        match command:
            case Subscribe(types=types) | Unsubscribe(types=types):
                if unknown := unknown_types(types or ()):
                    return FrameError(unknown, "invalid_parameter")
                self._news.filter = _changed(self._news.filter, command)
                return _listening(command, self._news.filter)
            case Stop(task_id=task_id):
                # A stop that has begun must close the task's row, also when the client leaves.
                found = await asyncio.shield(executor.stop(task_id))
                return Answer("stop", "Stopped" if found else "Nothing to stop")
            case Skip(task_id=task_id):
                found = executor.skip(task_id)
                return Answer("skip", "Skipped" if found else "Nothing to skip")
        return Pong(seq=self._request.app[BUS].last_seq)


def frame(kind: int, payload: bytes) -> bytes:
    """A whole, unmasked frame (RFC 6455, section 5.2)."""
    size = len(payload)
    if size < 126:
        head = bytes((kind, size))
    elif size < 2**16:
        head = bytes((kind, 126)) + size.to_bytes(2)
    else:
        head = bytes((kind, 127)) + size.to_bytes(8)
    return head + payload


def _text_frame(delivery: Delivery) -> bytes:
    return frame(TEXT, delivery.json)


def _preview_frame(delivery: Delivery) -> bytes:
    """Previews as pictures, everything else as text."""
    if delivery.preview_frame is None:
        return delivery.encoded(_text_frame)
    return frame(BINARY, delivery.preview_frame)


def _changed(heard: EventFilter, command: Subscribe | Unsubscribe) -> EventFilter:
    """The filter after the command. Naming types on a connection that hears all picks those."""
    if isinstance(command, Unsubscribe):
        return EventFilter(_without(heard.types, command.types), heard.task_id)
    types = None if command.types is None else (heard.types or frozenset()).union(command.types)
    return EventFilter(
        types, heard.task_id if command.task_id is msgspec.UNSET else command.task_id
    )


def _without(types: frozenset[str] | None, unwanted: list[str] | None) -> frozenset[str]:
    if unwanted is None:
        return frozenset()
    return (TYPE_NAMES if types is None else types).difference(unwanted)


def _listening(command: Subscribe | Unsubscribe, heard: EventFilter) -> Listening:
    op = "subscribe" if isinstance(command, Subscribe) else "unsubscribe"
    types = None if heard.types is None else sorted(heard.types)
    return Listening(op, types, heard.task_id)
