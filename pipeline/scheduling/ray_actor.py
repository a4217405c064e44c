"""The far side of a ``RayWorker``: a ``LocalWorker`` in a process that Ray started."""

import logging
import pickle
import resource
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from pipeline.errors import PipelineError
from pipeline.scheduling.engine_protocol import Inputs
from pipeline.scheduling.local_worker import BuildEngine, LocalWorker
from pipeline.scheduling.ray_messages import (
    START,
    Answered,
    Emitted,
    Ended,
    Message,
    Raised,
    Released,
    Status,
    encode_batch,
)
from pipeline.scheduling.task import Task
from pipeline.scheduling.worker import Failure, ToolReply, ToolRequest
from pipeline.scheduling.worker_events import WorkerEvent

STREAM_LENGTH: Final = 200


class WorkerActor:
    """Passes calls on to a ``LocalWorker`` and yields all that comes of them.

    Needs two threads: one is ``messages``, the other runs the calls, which return at once. Two
    calls are run in the order in which the server made them.
    """

    def __init__(self, name: str, build: BuildEngine, log_level: int) -> None:
        logging.basicConfig(level=log_level, format="%(levelname)-7s %(name)s: %(message)s")
        self._worker = LocalWorker(name, build)
        self._outbox: SimpleQueue[Message] = SimpleQueue()

    def messages(self) -> Iterator[bytes]:
        """The next ``STREAM_LENGTH`` batches, in order; to be called again.

        Not one stream for the actor's life: Ray 2.60 keeps about 1.6 KB in the server and 1 KB here
        for each item of a stream until it ends.
        """
        for _ in range(STREAM_LENGTH):
            batch = [self._outbox.get()]
            while not self._outbox.empty():  # this thread alone takes from it
                batch.append(self._outbox.get())
            yield encode_batch(batch)

    def start(self) -> None:
        """As ``Worker.start``; its call is ``START``."""
        done = self._worker.start(partial(self._emit, START))
        done.add_done_callback(partial(self._end, START))

    def run(self, call: int, task: Task, inputs: Inputs) -> None:
        """As ``Worker.run``."""
        done = self._worker.run(task, inputs, partial(self._emit, call))
        done.add_done_callback(partial(self._end, call))

    def cancel(self, task_id: str, skip: bool) -> None:
        """As ``Worker.cancel``."""
        self._worker.cancel(task_id, skip=skip)

    def tool(self, call: int, request: ToolRequest) -> None:
        """As ``Worker.tool``."""
        self._worker.tool(request).add_done_callback(partial(self._answer, call))

    def release(self, call: int) -> None:
        """As ``Worker.release``."""
        self._worker.release().add_done_callback(partial(self._released, call))

    def _emit(self, call: int, event: WorkerEvent) -> None:
        self._outbox.put(Emitted(call, event))

    def _end(self, call: int, done: Future[Failure | None]) -> None:
        self._tell_status()
        self._outbox.put(Ended(call, done.result()))

    def _answer(self, call: int, done: Future[ToolReply]) -> None:
        self._tell_status()
        error = done.exception()
        if isinstance(error, PipelineError):  # the device thread lets nothing else out
            self._outbox.put(Raised(call, pickle.dumps(error)))
        else:
            self._outbox.put(Answered(call, done.result()))

    def _released(self, call: int, done: Future[tuple[str, ...]]) -> None:
        self._tell_status()
        self._outbox.put(Released(call, done.result() if done.exception() is None else ()))

    def _tell_status(self) -> None:
        worker = self._worker
        self._outbox.put(Status(worker.state, worker.loaded(), _resident_bytes()))


def _resident_bytes() -> int:
    """The resident size of this process; 0 where there is no ``/proc``."""
    try:
        pages = Path("/proc/self/statm").read_text("ascii").split()[1]
    except OSError:
        return 0
    return int(pages) * resource.getpagesize()
