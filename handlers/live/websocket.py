"""GET /ws: the event bus as WebSocket frames, and a few commands the other way."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Final, Literal

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web
from msgspec import Meta

from bus.subscription import Event, EventFilter, Subscription
from handlers.http.operation import Operation
from handlers.http.slow_clients import unless_closed
from handlers.http.sse import BATCH
from handlers.keys import BUS, EXECUTOR
from handlers.live.events import CLOSE_GRACE_S, MAILBOX_LIMIT
from handlers.live.filters import (
    TYPE_NAMES,
    EventsQuery,
    filter_of,
    since_of,
    unknown_types,
)
from handlers.live.frames import (
    BINARY,
    TEXT,
    ClientFrame,
    CommandReply,
    FrameError,
    Hello,
    Listening,
    Pong,
    ServerFrame,
    Skip,
    State,
    Stop,
    Subscribe,
    Unsubscribe,
    decode_frame,
    frame,
)
from handlers.service.queue import view_queue
from handlers.service_keys import TASKS

HEARTBEAT_S: Final = 20.0
MAX_FRAME_BYTES: Final = 16 * 1024  # of a client's frame; a larger one ends the connection
HIGH_WATER_BYTES: Final = 64 * 1024  # unsent, from which on the writer waits for the client
_encode: Final = msgspec.json.Encoder().encode


class SocketQuery(EventsQuery, kw_only=True):
    """The query of the WebSocket."""

    preview: Annotated[
        Literal["json", "binary"], Meta(description="Previews as JSON or as binary frames.")
    ] = "json"


@Operation(
    name="websocket",
    tag="events",
    summary="The same over a WebSocket, which takes commands too",
    status=101,
    errors=(400, 401, 403, 422),
    takes_token=True,
    is_stream=True,
)
async def websocket(request: web.Request, query: SocketQuery) -> web.WebSocketResponse:
    """Send events until either side leaves; carry out the client's commands meanwhile."""
    wanted, since = filter_of(query), since_of(request, query)
    ws = web.WebSocketResponse(
        timeout=CLOSE_GRACE_S,
        heartbeat=HEARTBEAT_S,
        compress=False,  # once per client, and images do not shrink
        max_msg_size=MAX_FRAME_BYTES,
    )
    await ws.prepare(request)
    with request.app[BUS].subscribe(wanted, MAILBOX_LIMIT, since) as subscription:
        connection = Connection(request, ws, subscription, binary=query.preview == "binary")
        if since is None:
            connection.greet()
        await connection.run()
    return ws


class Connection:
    """One client: a coroutine that writes its events, and one that reads its commands.

    Events are framed once for all clients, so they go to the transport and not through
    ``ws.send_str``, which would frame them for each. Neither masks nor compresses, so the two mix.
    """

    def __init__(
        self,
        request: web.Request,
        ws: web.WebSocketResponse,
        subscription: Subscription,
        *,
        binary: bool,
    ) -> None:
        self._request = request
        self._ws = ws
        self._subscription = subscription
        self._frame = _preview_frame if binary else _text_frame
        self._last_seq = request.app[BUS].last_seq

    def greet(self) -> None:
        """Send the state before the first event: no other coroutine runs in between."""
        queue = view_queue(self._request.app[EXECUTOR], limit=0)
        state = State(
            pending=queue.waiting,
            running=queue.running,
            paused=queue.paused,
            revision=queue.revision,
        )
        if (transport := self._request.transport) is not None:
            transport.write(frame(TEXT, _encode(Hello(seq=self._last_seq, data=state))))

    async def run(self) -> None:
        """Write and read concurrently: only a reader sees the client's close frame."""
        sender = asyncio.create_task(self._send_all())
        try:
            with suppress(ConnectionError):
                await self._receive_all()
        finally:
            if not self._subscription.closed:
                sender.cancel()
            await asyncio.wait((sender,))

    async def _send_all(self) -> None:
        self._subscription.on_ready = self._send_now
        with suppress(ConnectionError):  # the reader sees it too, and ends the handler
            while batch := await self._subscription.take(BATCH):
                transport = self._request.transport
                if transport is None or transport.is_closing():
                    return
                self._write(transport, batch)
                if transport.get_write_buffer_size() > HIGH_WATER_BYTES:
                    await unless_closed(self._subscription, self._request.writer.drain())
            await self._close()

    def _send_now(self) -> None:
        """Write to a client that keeps up at once; a slow one is left to ``_send_all``."""
        transport = self._request.transport
        if transport is None or transport.is_closing():
            return
        if transport.get_write_buffer_size() <= HIGH_WATER_BYTES:
            self._write(transport, self._subscription.take_now(BATCH))

    def _write(self, transport: asyncio.Transport, batch: Sequence[Event]) -> None:
        made = self._frame
        if len(batch) == 1:
            transport.write(batch[0].encoded(made))
        else:
            transport.write(b"".join([event.encoded(made) for event in batch]))
        self._last_seq = batch[-1].seq

    async def _close(self) -> None:
        code, reason = WSCloseCode.GOING_AWAY, "the server is stopping"
        if self._subscription.overflowed:
            code = WSCloseCode.TRY_AGAIN_LATER
            reason = f"too slow; resync with since={self._last_seq}"
        await self._ws.close(code=code, message=reason.encode(), drain=False)
        if (transport := self._request.transport) is not None:
            transport.abort()  # a client that does not read would keep the unsent bytes for ever

    async def _receive_all(self) -> None:
        async for message in self._ws:
            if message.type not in {WSMsgType.TEXT, WSMsgType.BINARY}:
                return
            reply = await self._obey(decode_frame(message.data))
            await self._ws.send_str(_encode(reply).decode())

    async def _obey(self, command: ClientFrame | FrameError) -> ServerFrame:
        """Carry out a client's command; the frame that answers it."""
        tasks = self._request.app[TASKS]
        match command:
            case FrameError():
                return command
            case Subscribe(types=types) | Unsubscribe(types=types):
                if unknown := unknown_types(types or ()):
                    return FrameError(unknown, "invalid_parameter")
                self._subscription.filter = _changed(self._subscription.filter, command)
                return _listening(command, self._subscription.filter)
            case Stop(task_id=task_id):
                found = await tasks.stop(task_id)
                return CommandReply("stop", "Stopped" if found else "Nothing to stop")
            case Skip(task_id=task_id):
                found = tasks.skip(task_id)
                return CommandReply("skip", "Skipped" if found else "Nothing to skip")
        return Pong(seq=self._request.app[BUS].last_seq)


def _text_frame(event: Event) -> bytes:
    return frame(TEXT, event.json)


def _preview_frame(event: Event) -> bytes:
    """Previews as pictures, everything else as text."""
    if event.preview_frame is None:
        return event.encoded(_text_frame)
    return frame(BINARY, event.preview_frame)


def _changed(heard: EventFilter, command: Subscribe | Unsubscribe) -> EventFilter:
    """The filter after the command. Naming types where all were heard leaves only those."""
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
