"""The server with the time of each step as its message: ``python bench/stamping_server.py``.

Its options are the server's own. A step's message is ``time.monotonic_ns()`` as the device thread
reported it, before it crossed to the event loop; that clock is one for all processes of a machine.
"""

import os
import sys
import time
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import msgspec

if __package__ in {None, ""}:  # run as a file: the packages stand one folder up
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from handlers.http.serving import run
from pipeline.engine.spec import build_engine
from pipeline.scheduling.engine_protocol import Inputs
from pipeline.scheduling.local_worker import LocalWorker
from pipeline.scheduling.task import Task
from pipeline.scheduling.worker import Failure
from pipeline.scheduling.worker_events import Progress, Sink, WorkerEvent
from server import create_app, engine_spec
from settings import load_settings


class StampingWorker(LocalWorker):
    """As ``LocalWorker``, with the time in place of each progress message."""

    def run(self, task: Task, inputs: Inputs, sink: Sink) -> Future[Failure | None]:
        """As ``Worker.run``."""
        return super().run(task, inputs, partial(_stamped, sink))


def _stamped(sink: Sink, event: WorkerEvent) -> None:
    if isinstance(event, Progress):
        event = msgspec.structs.replace(event, message=str(time.monotonic_ns()))
    sink(event)


def main() -> None:
    """Serve until SIGTERM."""
    settings = load_settings(sys.argv[1:], os.environ)
    spec = msgspec.structs.replace(engine_spec(settings, settings.preset), device="cpu")
    app = create_app(settings, [StampingWorker("cpu", partial(build_engine, spec))])
    run(app, settings.host, settings.port, settings.log_level)


if __name__ == "__main__":
    main()
