"""The whole server on a device that draws small squares: ``python bench/sketching_server.py``.

Its options are the server's own. Tasks take milliseconds and no torch is imported, so what is
measured and tested is the web half alone.
"""

import os
import sys
from pathlib import Path
from typing import Final

if __package__ in {None, ""}:  # run as a file: the packages stand one folder up
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from PIL import Image

from handlers.http.serving import run
from pipeline.errors import ImageSkipped
from pipeline.images.encode import encode_image
from pipeline.scheduling.engine_protocol import Inputs
from pipeline.scheduling.local_worker import LocalWorker
from pipeline.scheduling.task import MadeImage, Reporter, Task
from server import create_app
from settings import load_settings

SIDE: Final = 8  # pixels
STEPS: Final = 4


def sketch(task: Task, reporter: Reporter, inputs: Inputs) -> None:
    """Make every image of the task, with a preview and a few steps."""
    del inputs
    images = task.params.image_number
    for image in range(1, images + 1):
        reporter.begin_image(image, images)
        try:
            _make(task, reporter, image)
        except ImageSkipped:
            continue


def _make(task: Task, reporter: Reporter, image: int) -> None:
    params = task.params
    seed = params.image_seed + image - 1
    picture = Image.new("RGB", (SIDE, SIDE), (seed % 256, seed // 256 % 256, 128))
    for step in range(1, STEPS + 1):
        reporter.check()
        done = ((image - 1) * STEPS + step) / (STEPS * params.image_number)
        message = f"Sampling step {step}/{STEPS}, image {image}/{params.image_number} ..."
        reporter.progress(int(13 + 86 * done), message, step=step, steps=STEPS)
    if reporter.wants_preview():
        reporter.preview(encode_image(picture, "jpeg"), "image/jpeg")
    reporter.image(
        MadeImage(
            data=encode_image(picture, params.output_format),
            extension=params.output_format,
            seed=seed,
            width=SIDE,
            height=SIDE,
        )
    )


def main() -> None:
    """Serve until SIGTERM."""
    settings = load_settings(sys.argv[1:], os.environ)
    app = create_app(settings, [LocalWorker("sketch", lambda _sink: sketch)])
    run(app, settings.host, settings.port, settings.log_level)


if __name__ == "__main__":
    main()
