"""One device at work: its thread, its engine, and its state. Knows no queue and no event loop."""

import logging
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Final, Literal, TypeVar

import msgspec

from pipeline.errors import DeviceOutOfMemory, PipelineError, UnsupportedFeature
from pipeline.scheduling.device_thread import DeviceThread
from pipeline.scheduling.progress import Failure, Running
from pipeline.scheduling.task import Generate, HasTools, HoldsModels

log = logging.getLogger(__name__)

StartDevice = Callable[[], Generate]
"""Loads what a device needs; called on its thread. May take seconds and may raise."""

OUT_OF_MEMORY: Final = "the machine ran out of memory; ask for a smaller picture"

T = TypeVar("T")


class DeviceState(msgspec.Struct, frozen=True, kw_only=True):
    """What ``/health`` says of a device."""

    name: str
    state: Literal["starting", "ready", "failed"] = "starting"
    error: str = ""


class DeviceWorker:
    """Owns a device's thread and engine. Any thread may call; calls take their turns.

    ``state`` is replaced whole by the device's thread.
    """

    def __init__(self, name: str, start: StartDevice) -> None:
        self.name = name
        self.state = DeviceState(name=name)
        self._start = start
        self._engine: Generate | None = None
        self._thread = DeviceThread(name)

    def start(self) -> Future[Failure | None]:
        """Load what the device needs. The future never raises."""
        return self._thread.submit(partial(self._attempt, None))

    def make(self, running: Running) -> Future[Failure | None]:
        """Make a task's pictures, on a device that is started first if need be.

        The future never raises: the thread and the tasks behind this one must outlive it.
        """
        return self._thread.submit(partial(self._attempt, running))

    def use_tool(self, call: Callable[[HasTools], T]) -> Future[T]:
        """Let the engine do ``call``; the future raises what it raises.

        UnsupportedFeature is that of a device without tools.
        """
        return self._thread.submit(partial(self._use_tool, call))

    def release(self) -> Future[tuple[str, ...]]:
        """Drop what the device has loaded; the names of that."""
        return self._thread.submit(self._release)

    def close(self) -> None:
        """Let the thread end after what was asked of it; does not wait for it."""
        self._thread.close()

    def _started(self) -> Generate:
        """The engine, loaded if that has not worked yet."""
        if self._engine is None:
            self._engine = self._start()
            self.state = DeviceState(name=self.name, state="ready")
        return self._engine

    def _attempt(self, running: Running | None) -> Failure | None:
        try:
            engine = self._started()
            if running is not None:
                engine(running.task, running)
        except PipelineError as error:
            failure = Failure(code=error.code, text=str(error))
        except MemoryError:
            failure = Failure(code=DeviceOutOfMemory.code, text=OUT_OF_MEMORY)
        except Exception:
            log.exception("device %s: %s", self.name, running.task.task_id if running else "start")
            failure = Failure(code="internal", text="an internal error; see the server log")
        else:
            return None
        if self._engine is None:
            self.state = DeviceState(name=self.name, state="failed", error=failure.text)
            log.error("device %s did not start: %s", self.name, failure.text)
        return failure

    def _use_tool(self, call: Callable[[HasTools], T]) -> T:
        engine: object = self._started()
        if not isinstance(engine, HasTools):
            raise UnsupportedFeature(self.name, f"{self.name}: this device has no image tools")
        try:
            return call(engine)
        except MemoryError as error:
            raise DeviceOutOfMemory(OUT_OF_MEMORY) from error

    def _release(self) -> tuple[str, ...]:
        engine: object = self._engine
        return engine.release() if isinstance(engine, HoldsModels) else ()
