"""GET /ws with a ``clientId``: the events of every task, as ComfyUI tells them."""

import asyncio
import uuid
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from bus.subscription import EventFilter, Subscription
from handlers.comfyui.describe import describe
from handlers.comfyui.messages import TOLD, Message, Translator, message, status
from handlers.comfyui.queue import remaining
from handlers.comfyui.system import features_of
from handlers.http.operation import marked, operation_of
from handlers.http.refusal import Handler
from handlers.http.slow_clients import unless_closed
from handlers.keys import BUS, EXECUTOR

CLIENT_ID: Final = "clientId"
CLOSE_GRACE_S: Final = 2.0
HEARTBEAT_S: Final = 20.0
MAILBOX_LIMIT: Final = 256
MAX_FRAME_BYTES: Final = 64 * 1024  # of a client's frame; a larger one ends the connection
ID_CHARS: Final = 128  # of a client's id, which is only told back
_TOLD: Final = EventFilter(frozenset(kind.type for kind in TOLD))


class _Declared(msgspec.Struct):
    """What a client says that it takes."""

    supports_preview_metadata: bool = False


class _FirstFrame(msgspec.Struct):
    """A client's first frame, if it sends one."""

    type: str = ""
    data: _Declared = msgspec.field(default_factory=_Declared)


_decode: Final = msgspec.json.Decoder(_FirstFrame).decode


@describe(
    name="comfyui_websocket",
    summary="Every task's messages and previews over a WebSocket",
    status=101,
    errors=(400, 401, 403),
    takes_token=True,
    is_stream=True,
)
async def watch(request: web.Request) -> web.WebSocketResponse:
    """Send the events of every task until either side closes. Missed ones are not replayed."""
    ws = web.WebSocketResponse(
        timeout=CLOSE_GRACE_S,
        heartbeat=HEARTBEAT_S,
        compress=False,
        max_msg_size=MAX_FRAME_BYTES,
    )
    await ws.prepare(request)
    with request.app[BUS].subscribe(_TOLD, MAILBOX_LIMIT) as subscription:
        await _Watcher(request, ws, subscription).run()
    return ws


def also_for_watchers(own: Handler) -> Handler:
    """Our own WebSocket for clients without a ``clientId``, and ComfyUI's for those with one."""
    operation = operation_of(own)
    if operation is None:
        raise TypeError("the handler carries no operation")

    async def endpoint(request: web.Request) -> web.StreamResponse:
        return await (watch if CLIENT_ID in request.query else own)(request)

    return marked(endpoint, msgspec.structs.replace(operation, takes_basic=True))


class _Watcher:
    """One connection: a writing and a reading coroutine."""

    def __init__(
        self, request: web.Request, ws: web.WebSocketResponse, subscription: Subscription
    ) -> None:
        self._app = request.app
        self._transport = request.transport
        self._ws = ws
        self._subscription = subscription
        self._translator = Translator()
        self._sid = request.query.get(CLIENT_ID, "")[:ID_CHARS] or uuid.uuid4().hex

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
        executor = self._app[EXECUTOR]
        with suppress(ConnectionError):  # the reader sees it too, and ends the handler
            await self._send([status(remaining(executor), self._sid)])
            for running in executor.running():
                await self._send(self._translator.resumed(running))
            async for event in self._subscription:
                await self._send(self._translator.messages(event))
            await self._close()

    async def _send(self, messages: Iterable[Message]) -> None:
        for each in messages:
            sending = (
                self._ws.send_str(each) if isinstance(each, str) else self._ws.send_bytes(each)
            )
            await unless_closed(self._subscription, sending)

    async def _close(self) -> None:
        code, reason = WSCloseCode.GOING_AWAY, b"the server is stopping"
        if self._subscription.overflowed:
            code, reason = WSCloseCode.TRY_AGAIN_LATER, b"too slow; connect again"
        await self._ws.close(code=code, message=reason, drain=False)
        if self._transport is not None:
            self._transport.abort()  # a client that does not read would keep the unsent bytes

    async def _receive_all(self) -> None:
        is_first = True
        async for received in self._ws:
            if received.type not in {WSMsgType.TEXT, WSMsgType.BINARY}:
                return
            if is_first:
                await self._take_first(received.data)
            is_first = False

    async def _take_first(self, data: str | bytes) -> None:
        """A client's feature flags are answered with the server's; all else is ignored."""
        try:
            first = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        if first.type == "feature_flags":
            self._translator.with_metadata = first.data.supports_preview_metadata
            flags = msgspec.structs.asdict(features_of(self._app))
            await self._ws.send_str(message("feature_flags", **flags))
