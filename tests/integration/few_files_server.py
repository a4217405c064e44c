"""A server with a fake device that may open 256 files, however many the machine allows."""

import os
import resource
import sys
from pathlib import Path

if __name__ == "__main__":  # it is started as a program, from any folder
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from functools import partial

from handlers.http.serving import run
from pipeline.scheduling.local_worker import LocalWorker
from server import create_app
from settings import load_settings
from tests.integration.fake_device import FakeDevice

if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 256))
    settings = load_settings(sys.argv[1:], os.environ)
    app = create_app(settings, [LocalWorker("fake", partial(FakeDevice().build, settings))])
    run(app, settings.host, settings.port, settings.log_level)
