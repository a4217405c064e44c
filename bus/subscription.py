"""A subscription to the bus: a filter and a bounded mailbox, independent of any transport."""

import asyncio
import base64
import binascii
from collections import deque
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Final

import msgspec

from bus.events import BusGap, DownloadProgress, EventData, TaskPreview

PREVIEW_MAGIC: Final = b"FPV\x01"
PREVIEW_FORMATS: Final = {"image/jpeg": 1, "image/png": 2, "image/webp": 3}

_encode = msgspec.json.Encoder().encode
Key = int | tuple[str, str | None]


class _Wire(msgspec.Struct, frozen=True):
    seq: int
    ts: int
    type: str
    task_id: str | None
    data: EventData


class Event:
    """One numbered event, shared by all subscribers; each encoding is computed once.

    ``ts`` is Unix milliseconds. ``key`` is equal for events of which only the newest matters.
    Event loop only.
    """

    def __init__(self, seq: int, ts: int, task_id: str | None, data: EventData) -> None:
        self.seq = seq
        self.ts = ts
        self.task_id = task_id
        self.data = data
        self.type = data.type
        self.lossy = data.lossy
        self.key: Key = (data.type, _subject(data, task_id)) if data.lossy else seq
        self._encoded: dict[Callable[[Event], bytes], bytes] = {}

    @cached_property
    def json(self) -> bytes:
        """The event as JSON, as it is sent."""
        return _encode(_Wire(self.seq, self.ts, self.type, self.task_id, self.data))

    @cached_property
    def preview_frame(self) -> bytes | None:
        """A preview as header and image bytes; None for any other event or picture format."""
        if not isinstance(self.data, TaskPreview) or self.task_id is None:
            return None
        mime, _, encoded = self.data.image.removeprefix("data:").partition(";base64,")
        if mime not in PREVIEW_FORMATS:
            return None
        try:
            image = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            return None
        task = self.task_id.encode("ascii", "replace")[:32].ljust(32)
        return b"".join((PREVIEW_MAGIC, bytes((PREVIEW_FORMATS[mime],)), task, image))

    def encoded(self, form: Callable[["Event"], bytes]) -> bytes:
        """``form(self)``, computed for the first subscriber and cached for the others."""
        made = self._encoded.get(form)
        if made is None:
            made = self._encoded[form] = form(self)
        return made


def _subject(data: EventData, task_id: str | None) -> str | None:
    return data.name if isinstance(data, DownloadProgress) else task_id


class EventFilter(msgspec.Struct, frozen=True):
    """Which events a subscriber gets; None stands for all. A gap concerns every subscriber.

    ``general`` are types that pass whatever their task.
    """

    types: frozenset[str] | None = None
    task_id: str | None = None
    general: frozenset[str] = frozenset()

    def accepts(self, event: Event) -> bool:
        """Whether the subscriber gets this event."""
        if self.types is not None and event.type not in self.types:
            return _is_gap(event)
        if self.task_id is None or self.task_id == event.task_id:
            return True
        return event.type in self.general or _is_gap(event)


EVERYTHING: Final = EventFilter()


def _is_gap(event: Event) -> bool:
    return event.type == BusGap.type


class Subscription:
    """Bounded, ordered mailbox of one subscriber. Event loop only.

    A lossy event replaces the pending one with its key, so a slow subscriber sees fewer steps but
    no stale ones. In a full mailbox a lossless event evicts a lossy one; if there is none, the
    mailbox closes as ``overflowed``, and the subscriber has to replay.
    """

    def __init__(self, limit: int, filter: EventFilter = EVERYTHING) -> None:  # noqa: A002
        self.filter = filter
        self.overflowed = False
        self.replaced = 0  # lossy events superseded or dropped before they were read
        self._limit = limit
        self._replay: deque[Event] = deque()
        self._pending: dict[Key, Event] = {}
        self._waiter: asyncio.Future[None] | None = None
        self._closed = asyncio.Event()
        self.on_ready: Callable[[], None] | None = None
        """Called while the subscriber waits in ``take``, before it is woken. If it empties the
        mailbox with ``take_now``, the subscriber is not woken: waking a thousand tasks costs more
        than writing to a thousand sockets."""

    @property
    def closed(self) -> bool:
        """Whether the mailbox accepts no more events."""
        return self._closed.is_set()

    def replay(self, events: Iterable[Event]) -> None:
        """Put past events before all others. They do not count towards ``limit``."""
        self._replay.extend(filter(self.filter.accepts, events))

    def offer(self, event: Event) -> None:
        """Add an event if the filter accepts it."""
        self.offer_all((event,))

    def offer_all(self, events: Iterable[Event]) -> None:
        """Add the events that the filter accepts, and wake the subscriber once."""
        if self._closed.is_set():
            return
        pending = self._pending
        accepts = self.filter.accepts
        for event in events:
            if not accepts(event):
                continue
            if pending.pop(event.key, None) is not None:
                self.replaced += 1
            if len(pending) < self._limit or self._make_room(event):
                pending[event.key] = event
            elif self.overflowed:
                return
        if pending:
            self._wake()

    def close(self) -> None:
        """Accept no more events. Pending ones are still delivered, then the iteration ends."""
        self._closed.set()
        self._wake()

    async def wait_closed(self) -> None:
        """Return once the mailbox is closed."""
        await self._closed.wait()

    async def take(self, limit: int = 64) -> list[Event]:
        """Wait for events and take up to ``limit``; an empty list means that it is closed."""
        await self._something()
        return self.take_now(limit)

    def take_now(self, limit: int = 64) -> list[Event]:
        """Up to ``limit`` pending events, without waiting."""
        count = min(limit, len(self._replay) + len(self._pending))
        return [self._pop() for _ in range(count)]

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> Event:
        await self._something()
        if not self._replay and not self._pending:
            raise StopAsyncIteration
        return self._pop()

    async def _something(self) -> None:
        while not (self._replay or self._pending or self._closed.is_set()):
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def _pop(self) -> Event:
        if self._replay:
            return self._replay.popleft()
        return self._pending.pop(next(iter(self._pending)))

    def _make_room(self, event: Event) -> bool:
        """Evict a lossy event for ``event``; False if it was dropped or the mailbox closed."""
        self.replaced += 1
        if event.lossy:
            return False
        for key, pending in self._pending.items():
            if pending.lossy:
                del self._pending[key]
                return True
        self.replaced -= 1
        self.overflowed = True
        self._replay.clear()
        self._pending.clear()
        self.close()
        return False

    def _wake(self) -> None:
        if self._waiter is None or self._waiter.done():
            return  # the subscriber is not waiting; it checks the mailbox before it waits again
        if self.on_ready is not None and (self._pending or self._replay):
            self.on_ready()
        if self._pending or self._replay or self._closed.is_set():
            self._waiter.set_result(None)
