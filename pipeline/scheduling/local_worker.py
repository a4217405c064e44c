"""A worker in this process: an engine on a thread of its own."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Final

from msgspec import UNSET

from pipeline.errors import (
    DeviceBusy,
    DeviceOutOfMemory,
    InternalError,
    PipelineError,
    UnsupportedFeature,
    WorkerLost,
)
from pipeline.request.resolved import ResolvedRequest
from pipeline.scheduling.device_thread import DeviceThread
from pipeline.scheduling.engine_protocol import (
    ChecksDevice,
    Generate,
    HasTools,
    HoldsModels,
    Inputs,
    LoadedModel,
    MakesBatches,
    NamesHardware,
    TaskEnded,
    TaskJob,
)
from pipeline.scheduling.reporter import RunReporter
from pipeline.scheduling.task import Task
from pipeline.scheduling.worker import (
    Assignment,
    Describe,
    DeviceState,
    DrawMask,
    Failure,
    ToolReply,
    ToolRequest,
)
from pipeline.scheduling.worker_events import Sink

log = logging.getLogger(__name__)

BuildEngine = Callable[[Sink], Generate]
"""Builds an engine on the device thread; may take minutes and may raise."""

INTERNAL: Final = "an internal error; see the server log"
OUT_OF_MEMORY: Final = "the machine ran out of memory; ask for a smaller picture"


class LocalWorker:
    """As ``Worker``. The engine lives on the device thread and is called there only."""

    def __init__(self, name: str, build: BuildEngine) -> None:
        self._name = name
        self._build = build
        self._state = DeviceState(name=name)  # replaced whole, by the device thread
        self._engine: Generate | None = None
        self._reporters: dict[str, RunReporter] = {}
        self._thread = DeviceThread(name, self._explain)

    @property
    def name(self) -> str:
        """As ``Worker.name``."""
        return self._name

    @property
    def state(self) -> DeviceState:
        """As ``Worker.state``."""
        return self._state

    def start(self, sink: Sink) -> Future[Failure | None]:
        """As ``Worker.start``: builds the engine, unless there is one."""
        done = self._thread.submit(partial(self._start, sink))
        done.add_done_callback(self._note_start)
        return _as_failure(done)

    def run(self, task: Task, inputs: Inputs, sink: Sink) -> Future[Failure | None]:
        """As ``Worker.run``."""
        reporter = self._reporters[task.task_id] = RunReporter(task, sink)
        done = self._thread.submit(lambda: self._ready_engine()(task, reporter, inputs))
        done.add_done_callback(lambda _done: self._reporters.pop(task.task_id, None))
        return _as_failure(done)

    def images_together(self, request: ResolvedRequest) -> int:
        """As ``RunsTogether``."""
        engine: object = self._engine
        if not isinstance(engine, MakesBatches):
            return 1
        try:
            return engine.images_together(request)
        except RuntimeError as error:  # CUDA's: the next run finds out what is wrong
            log.warning("device %s does not say how much memory is free: %s", self._name, error)
            return 1

    def run_together(self, assignments: Sequence[Assignment]) -> tuple[Future[Failure | None], ...]:
        """As ``RunsTogether``."""
        jobs, ends = [], []
        for task, inputs, sink in assignments:
            reporter = self._reporters[task.task_id] = RunReporter(task, sink)
            jobs.append(TaskJob(task, reporter, inputs))
            ends.append(self._end_of(task))

        def ended(index: int, error: PipelineError | None) -> None:
            if error is not None:  # its frames hold tensors
                error.__traceback__ = error.__context__ = error.__cause__ = None
            _settle(ends[index], error)

        def settle_rest(done: Future[None]) -> None:
            error = done.exception()
            if not isinstance(error, PipelineError):
                error = InternalError("the engine left the task without an end")
            for end in ends:
                _settle(end, error)

        done = self._thread.submit(partial(self._run_together, jobs, ended))
        done.add_done_callback(settle_rest)
        return tuple(map(_as_failure, ends))

    def _end_of(self, task: Task) -> Future[None]:
        """The end of a run, which forgets its reporter."""
        end: Future[None] = Future()
        end.add_done_callback(lambda _end: self._reporters.pop(task.task_id, None))
        return end

    def _run_together(self, jobs: Sequence[TaskJob], ended: TaskEnded) -> None:
        engine: object = self._ready_engine()
        if not isinstance(engine, MakesBatches):
            raise WorkerLost(f"{self._name} makes one task at a time")
        engine.run_together(jobs, ended)

    def cancel(self, task_id: str, *, skip: bool = False) -> None:
        """As ``Worker.cancel``."""
        if (reporter := self._reporters.get(task_id)) is not None:
            reporter.cancel(skip=skip)

    def tool(self, request: ToolRequest) -> Future[ToolReply]:
        """As ``Worker.tool``. UnsupportedFeature if the engine has no tools."""
        return self._thread.submit(partial(self._tool, request))

    def loaded(self) -> tuple[LoadedModel, ...]:
        """As ``Worker.loaded``."""
        engine: object = self._engine
        return engine.loaded() if isinstance(engine, HoldsModels) else ()

    def release(self) -> Future[tuple[str, ...]]:
        """As ``Worker.release``."""
        return self._thread.submit(self._release)

    def close(self) -> None:
        """As ``Worker.close``."""
        self._thread.close()

    def _start(self, sink: Sink) -> None:
        if self._engine is None:
            self._engine = self._build(sink)
        engine: object = self._engine
        hardware = engine.hardware() if isinstance(engine, NamesHardware) else UNSET
        self._state = DeviceState(name=self._name, state="ready", hardware=hardware)

    def _note_start(self, done: Future[None]) -> None:
        if (error := done.exception()) is not None:
            self._state = DeviceState(name=self._name, state="failed", error=str(error))

    def _ready_engine(self) -> Generate:
        if self._engine is None:
            raise WorkerLost(f"{self._name} is not ready: {self._state.error or 'it starts'}")
        return self._engine

    def _tool(self, request: ToolRequest) -> ToolReply:
        if self._engine is None:
            raise DeviceBusy(f"{self._name} is not ready: {self._state.error}; try again later")
        engine: object = self._engine
        if not isinstance(engine, HasTools):
            raise UnsupportedFeature(self._name, f"{self._name}: this device has no image tools")
        match request:
            case Describe(picture=picture, image_type=image_type):
                return ToolReply(text=engine.describe(picture, image_type))
            case DrawMask(picture=picture, options=options):
                return ToolReply(picture=engine.generate_mask(picture, options))

    def _release(self) -> tuple[str, ...]:
        engine: object = self._engine
        return engine.release() if isinstance(engine, HoldsModels) else ()

    def _explain(self, error: BaseException) -> PipelineError:
        """What callers are told of an exception; an unexpected one may have broken the device."""
        if isinstance(error, PipelineError):
            return error
        if isinstance(error, MemoryError):
            return DeviceOutOfMemory(OUT_OF_MEMORY)
        log.error("device %s: an unexpected error", self._name, exc_info=error)
        engine: object = self._engine
        if isinstance(engine, ChecksDevice) and (fault := engine.device_fault()) is not None:
            self._engine = None
            self._state = DeviceState(name=self._name, state="failed", error=fault)
            return WorkerLost(f"{self._name} failed: {fault}")
        return InternalError(INTERNAL)


def _settle(end: Future[None], error: PipelineError | None) -> None:
    """End a run, unless it has ended."""
    if end.done():
        return
    if error is None:
        end.set_result(None)
    else:
        end.set_exception(error)


def _as_failure(done: Future[None]) -> Future[Failure | None]:
    """The same future with its exception as data."""
    result: Future[Failure | None] = Future()

    def pass_on(done: Future[None]) -> None:
        error = done.exception()
        if not result.set_running_or_notify_cancel():
            return
        if isinstance(error, PipelineError):
            result.set_result(Failure(code=error.code, text=str(error)))
        else:
            result.set_result(None)

    done.add_done_callback(pass_on)
    return result
