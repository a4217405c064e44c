"""One thread that owns one device. Knows calls and their results, and no tasks."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

from pipeline.errors import PipelineError

T = TypeVar("T")


class DeviceThread:
    """Runs calls one after another on a thread of its own.

    A daemon thread, unlike ThreadPoolExecutor's: a call that does not return must not keep the
    process from ending. Any thread may call ``submit``.
    """

    def __init__(self, name: str, explain: Callable[[BaseException], PipelineError]) -> None:
        """``explain``, called on the device thread, is what callers get for an exception."""
        self._explain = explain
        self._calls: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name=f"device-{name}", daemon=True)
        self._thread.start()

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Run ``call`` after all earlier ones. The future raises nothing but PipelineError."""
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
            except BaseException as error:  # noqa: BLE001 - the thread must outlive any call
                told = self._explain(error)
                told.__traceback__ = told.__context__ = told.__cause__ = None  # they hold tensors
                future.set_exception(told)
                del told
            else:
                future.set_result(result)
            # A frame that stays alive would hold the last call's tensors until the next one.
            del item, call, future
