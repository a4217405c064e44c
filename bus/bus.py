"""Fan-out of events: thread-safe publishing, a replay ring, a mailbox for each subscriber."""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Final

from bus.events import BusGap, EventData, now_ms
from bus.inbox import LoopInbox
from bus.subscription import EVERYTHING, Event, EventFilter, Subscription

RING_EVENTS: Final = 2048
RING_BYTES: Final = 8 * 2**20
COPIES: Final = 3  # a kept event is held as struct, as JSON and framed for sockets


class ReplayRing:
    """The newest events, bounded in number and in bytes. Owned by the event loop."""

    def __init__(self, max_events: int, max_bytes: int, first_seq: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._kept: deque[Event] = deque()
        self._bytes = 0
        self._next_seq = first_seq

    @property
    def last_seq(self) -> int:
        """The number of the newest event, kept or not."""
        return self._next_seq - 1

    def add(self, ts: int, task_id: str | None, data: EventData) -> Event:
        """Number an event and keep it; evicts the oldest beyond the bounds."""
        event = Event(self._next_seq, ts, task_id, data)
        self._next_seq += 1
        self._kept.append(event)
        self._bytes += COPIES * len(event.json)
        while len(self._kept) > self._max_events or self._bytes > self._max_bytes:
            self._bytes -= COPIES * len(self._kept.popleft().json)
        return event

    def after(self, since: int) -> list[Event]:
        """The events after ``since``, with a gap before them if some of those are gone.

        A ``since`` above ``last_seq`` belongs to another start of the server: all events of this
        start are then a gap, because it is unknown which of them the subscriber has missed.
        """
        last = self.last_seq
        if since > last:
            return [_gap(1, last)]
        first_kept = self._next_seq - len(self._kept)
        start = max(0, since + 1 - first_kept)
        kept = list(islice(self._kept, start, None))
        if since + 1 < first_kept:
            kept.insert(0, _gap(since + 1, first_kept - 1))
        return kept


class EventBus:
    """Numbers every event and delivers it to every open subscription. Bound to one event loop.

    ``publish`` is thread-safe; all else runs on the loop's thread. With a ``first_seq`` above the
    numbers of earlier starts, their subscribers can replay all events of this one.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        ring_events: int = RING_EVENTS,
        ring_bytes: int = RING_BYTES,
        first_seq: int = 1,
    ) -> None:
        self._ring = ReplayRing(ring_events, ring_bytes, first_seq)
        self._subscriptions: set[Subscription] = set()
        self._inbox: LoopInbox[tuple[int, str | None, EventData]] = LoopInbox(loop, self._deliver)
        self._closed = False

    @property
    def last_seq(self) -> int:
        """The number of the newest event that was delivered."""
        return self._ring.last_seq

    @property
    def subscribers(self) -> int:
        """Number of open subscriptions."""
        return len(self._subscriptions)

    def publish(self, data: EventData, task_id: str | None = None) -> None:
        """Deliver on the event loop, in call order. Never blocks; a no-op after ``close``."""
        self._inbox.put((now_ms(), task_id, data))

    @contextmanager
    def subscribe(
        self,
        filter: EventFilter = EVERYTHING,  # noqa: A002 - the field's word for it
        limit: int = 256,
        since: int | None = None,
    ) -> Iterator[Subscription]:
        """Open a mailbox for the length of a ``with`` block.

        With ``since`` the mailbox begins with the events after that number, whatever ``limit``
        is, and with a BusGap before them if some are no longer kept.
        """
        subscription = Subscription(limit, filter)
        if since is not None:
            subscription.replay(self._ring.after(since))
        if self._closed:
            subscription.close()
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    def close(self) -> None:
        """Deliver what was published, then end every subscription. Calling it twice is harmless."""
        self._inbox.close()
        self._closed = True
        for subscription in self._subscriptions:
            subscription.close()

    def _deliver(self, published: list[tuple[int, str | None, EventData]]) -> None:
        events = [self._ring.add(*each) for each in published]
        for subscription in self._subscriptions:
            subscription.offer_all(events)


def _gap(first: int, last: int) -> Event:
    return Event(last, now_ms(), None, BusGap(first=first, last=last))
