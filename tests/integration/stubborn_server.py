"""A server whose device does not look whether its task was stopped, as in one long step.

A task whose prompt is "die" ends the process; one whose prompt is "live" ends at once.
"""

import os
import sys
import threading
from pathlib import Path

if __name__ == "__main__":  # it is started as a program, from any folder
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from handlers.http.serving import run
from pipeline.scheduling.engine_protocol import Inputs
from pipeline.scheduling.local_worker import LocalWorker
from pipeline.scheduling.task import Reporter, Task
from server import create_app
from settings import load_settings


def generate(task: Task, reporter: Reporter, inputs: Inputs) -> None:
    """Begin, and mostly do not come back."""
    if task.params.prompt == "die":
        os._exit(9)
    if task.params.prompt != "live":
        reporter.progress(5, "one long step")
        threading.Event().wait()


if __name__ == "__main__":
    settings = load_settings(sys.argv[1:], os.environ)
    app = create_app(settings, [LocalWorker("stubborn", lambda _sink: generate)])
    run(app, settings.host, settings.port, settings.log_level)
