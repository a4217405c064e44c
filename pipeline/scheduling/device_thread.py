"""One thread that owns one device. Knows what a call and its result are, nothing of tasks."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class DeviceThread:
    """Runs calls one after another on a thread of its own, for as long as the process lives.

    A daemon thread, unlike ThreadPoolExecutor's: a model that does not come back must not keep
    the process from ending. Any thread may call ``submit``.
    """

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name=f"device-{name}", daemon=True)
        self._thread.start()

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Run ``call`` when all earlier ones are done; its result or exception is the future's."""
        future: Future[T] = Future()
        self._calls.put((call, future))
        return future

    def close(self) -> None:
        """Let the thread end after what was submitted; does not wait for it."""
        self._calls.put(None)

    def _serve(self) -> None:
        while (item := self._calls.get()) is not None:
            call, future = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001 - handed to whoever awaits the future
                future.set_exception(error)
            else:
                future.set_result(result)
            # A frame that stays alive would hold the last call's tensors until the next one.
            del item, call, future
