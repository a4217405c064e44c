"""The door from other threads to the event loop."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class LoopInbox(Generic[T]):
    """Hands items from any thread to one function on the event loop, in the order of ``put``.

    A burst wakes the loop once. ``receive`` gets all that has arrived since its last call.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, receive: Callable[[list[T]], None]) -> None:
        self._loop = loop
        self._receive = receive
        self._lock = threading.Lock()
        self._items: list[T] = []
        self._woken = False
        self._closed = False

    def put(self, item: T) -> None:
        """Any thread may call. Never blocks; does nothing after ``close``."""
        with self._lock:
            if self._closed:
                return
            self._items.append(item)
            if self._woken:
                return
            self._woken = True
        with suppress(RuntimeError):  # the loop is closed, so nobody is left to receive
            if _runs_here(self._loop):
                self._loop.call_soon(self.flush)  # spares two system calls
            else:
                self._loop.call_soon_threadsafe(self.flush)

    def flush(self) -> None:
        """Deliver now what has arrived. Event loop only."""
        with self._lock:
            items, self._items = self._items, []
            self._woken = False
        if items:
            self._receive(items)

    def close(self) -> None:
        """Deliver what has arrived and accept nothing more. Event loop only; idempotent."""
        self.flush()
        with self._lock:
            self._closed = True


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False
