"""The whole server on a device that makes nothing: ``python bench/idle_server.py``.

Its options are the server's own. What it uses is the web half's alone: no torch is imported.
"""

import os
import sys
from pathlib import Path

if __package__ in {None, ""}:  # run as a file: the packages stand one folder up
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from handlers.http.serving import run
from pipeline.scheduling.engine_protocol import Inputs
from pipeline.scheduling.local_worker import LocalWorker
from pipeline.scheduling.task import Reporter, Task
from server import create_app
from settings import load_settings


def generate(task: Task, reporter: Reporter, inputs: Inputs) -> None:
    """End the task without an image."""
    del task, reporter, inputs


def main() -> None:
    """Serve until SIGTERM."""
    settings = load_settings(sys.argv[1:], os.environ)
    app = create_app(settings, [LocalWorker("idle", lambda _sink: generate)])
    run(app, settings.host, settings.port, settings.log_level)


if __name__ == "__main__":
    main()
