"""The streamed way of answering: one task's progress as ``text/event-stream``.

The documented clients decode every line from its seventh character on as JSON and skip what does
not parse, so only an event may parse: no ``id:`` lines, and comments are letters.
"""

from collections.abc import Callable
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
from bus.subscription import Subscription
from handlers.http.sse import batches
from pipeline.errors import PipelineError
from pipeline.scheduling.task import Snapshot
from storage.records import TaskRecord

COMMENT: Final = b": waiting\n\n"
_encode = msgspec.json.Encoder().encode


class StreamEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event. Only the last one says "Finished", with every URL, or carries ``error``."""

    progress: int
    preview: str | None
    message: str
    images: tuple[str, ...] = ()
    error: str | msgspec.UnsetType = msgspec.UNSET


class ProgressStream:
    """Turns one task's bus events into the stream's events. Progress never falls.

    ``position`` is the number of tasks before this one; None once it does not wait.
    """

    def __init__(self, position: Callable[[], int | None]) -> None:
        self.progress = 0  # of the newest event
        self._position = position
        self._ahead: int | None = None  # the last number sent
        self._preview: str | None = None

    def event_of(self, data: EventData) -> StreamEvent | None:
        """The event to send, if any; a preview is sent with the event of its step."""
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
        """The number of tasks ahead, where there are any and the number has changed."""
        ahead = self._position()
        if not ahead or ahead == self._ahead:
            return None
        self._ahead = ahead
        return self._event(0, f"Waiting for task to start, {ahead} ahead ...", None)

    def resume(self, snapshot: Snapshot) -> StreamEvent:
        """The state of a task that was running before this stream began."""
        return self._event(snapshot.progress, snapshot.message, snapshot.preview or None)

    def last(self, end: TaskRecord | PipelineError) -> StreamEvent:
        """The last event: how the task ended, or why no end can be reported."""
        if isinstance(end, PipelineError):
            return self._end(str(end), (), str(end))
        images = tuple(end.result or ())
        match end.task_status:
            case "finished":
                return self._end("Finished", images)
            case "stop":
                return self._end("Stopped", images, "stopped by the user")
            case "skip":
                return self._end("Skipped", images, "skipped by the user")
        return self._end("Failed", images, end.error or "the task failed")

    def _end(self, message: str, images: tuple[str, ...], error: str = "") -> StreamEvent:
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
    """Write one event. Waits for a client that does not read. Raises ConnectionError."""
    await response.write(b"data: " + _encode(event) + b"\n\n")


async def send_progress(
    response: web.StreamResponse, subscription: Subscription, stream: ProgressStream
) -> None:
    """Send what arrives until the task's last event, or until the subscription ends."""
    async for batch in batches(subscription, limit=1):
        if not batch:
            await response.write(COMMENT)
        for published in batch:
            if isinstance(published.data, TERMINAL):
                return
            if (event := stream.event_of(published.data)) is not None:
                await send(response, event)
