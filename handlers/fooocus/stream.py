"""The streamed way of answering: one task's course as events of ``text/event-stream``.

The documented clients read every line from its seventh character on as JSON and skip what does
not parse, so nothing but an event may parse so: no ``id:`` lines, and a comment made of letters.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec
from aiohttp import web

from bus.events import (
    TERMINAL,
    EventData,
    QueueChanged,
    TaskPreview,
    TaskProgress,
)
from bus.subscription import Delivery, EventFilter, Subscription
from pipeline.scheduling.task import Snapshot

KEEP_ALIVE_S: Final = 15.0
COMMENT: Final = b": waiting\n\n"
FOLLOWED: Final = frozenset(
    (QueueChanged.type, TaskProgress.type, TaskPreview.type, *(kind.type for kind in TERMINAL))
)

_encode = msgspec.json.Encoder().encode


class StreamEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event. Only the last one says "Finished", with every URL, or carries ``error``."""

    progress: int
    preview: str | None
    message: str
    images: tuple[str, ...] = ()
    error: str | msgspec.UnsetType = msgspec.UNSET


def followed(task_id: str) -> EventFilter:
    """What a stream's mailbox takes in."""
    return EventFilter(FOLLOWED, task_id, general=frozenset({QueueChanged.type}))


class Narrator:
    """Turns what the bus says of one task into the stream's events. Progress never falls.

    ``position`` is the number of tasks before this one; None once it does not wait.
    """

    def __init__(self, position: Callable[[], int | None]) -> None:
        self.progress = 0  # of the newest event
        self._position = position
        self._ahead: int | None = None  # what the client was told last
        self._preview: str | None = None

    def tell(self, data: EventData) -> StreamEvent | None:
        """The event to send, if this one makes any; a preview waits for its step's event."""
        match data:
            case QueueChanged():
                return self.place()
            case TaskPreview(image=image):
                self._preview = image
            case TaskProgress(progress=progress, message=message):
                preview, self._preview = self._preview, None
                return self._event(progress, message, preview)
        return None

    def place(self) -> StreamEvent | None:
        """How many tasks are ahead, if there are any and the client does not know it."""
        ahead = self._position()
        if not ahead or ahead == self._ahead:
            return None
        self._ahead = ahead
        return self._event(0, f"Waiting for task to start, {ahead} ahead ...", None)

    def resume(self, snapshot: Snapshot) -> StreamEvent:
        """Where a task stands that was running before this stream began."""
        return self._event(snapshot.progress, snapshot.message, snapshot.preview or None)

    def last(self, message: str, images: tuple[str, ...] = (), error: str = "") -> StreamEvent:
        """The end; without an error, that of a finished task."""
        return StreamEvent(
            progress=self.progress if error else 100,
            preview=None,
            message=message,
            images=images,
            error=error or msgspec.UNSET,
        )

    def _event(self, progress: int, message: str, preview: str | None) -> StreamEvent:
        self.progress = max(self.progress, progress)
        return StreamEvent(progress=self.progress, preview=preview, message=message)


async def send(response: web.StreamResponse, event: StreamEvent) -> None:
    """Write one event. Waits while the client does not read; raises when it has left."""
    await response.write(b"data: " + _encode(event) + b"\n\n")


async def narrate(response: web.StreamResponse, news: Subscription, narrator: Narrator) -> None:
    """Send what the mailbox brings until the task's last event, or until the mailbox closes."""
    async for delivery in _with_pauses(news):
        if delivery is None:
            await response.write(COMMENT)
        elif isinstance(delivery.data, TERMINAL):
            return
        elif (event := narrator.tell(delivery.data)) is not None:
            await send(response, event)


async def _with_pauses(news: Subscription) -> AsyncIterator[Delivery | None]:
    """The mailbox's deliveries, and None for each stretch without one."""
    while True:
        try:
            async with asyncio.timeout(KEEP_ALIVE_S):
                delivery = await anext(news)
        except TimeoutError:
            yield None
        except StopAsyncIteration:
            return
        else:
            yield delivery
