"""A server whose device paints small squares in short steps: everything else is the real thing.

A prompt ``raise NAME`` raises that exception in the middle of the picture; ``steps N`` takes so
many steps of ten milliseconds; ``bytes N`` makes a picture file of about that size.
"""

import io
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

if __name__ == "__main__":  # it is started as a program, from any folder
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from PIL import Image

from handlers.http.serving import run
from pipeline.errors import DeviceOutOfMemory, ImageSkipped
from pipeline.scheduling.engine_protocol import Inputs
from pipeline.scheduling.local_worker import LocalWorker
from pipeline.scheduling.task import MadeImage, Reporter, Task
from server import create_app
from settings import load_settings
from storage.lock import FolderLock

STEPS: Final = 4
STEP_S: Final = 0.01
SIDE: Final = 8
FAULTS: Final[dict[str, Callable[[], BaseException]]] = {
    "RuntimeError": lambda: RuntimeError("CUDA error: an illegal memory access was encountered"),
    "MemoryError": MemoryError,
    "DeviceOutOfMemory": lambda: DeviceOutOfMemory("no room"),
    "KeyboardInterrupt": KeyboardInterrupt,
    "SystemExit": SystemExit,
    "RecursionError": RecursionError,
    "BaseException": BaseException,
}


def generate(task: Task, reporter: Reporter, inputs: Inputs) -> None:
    """Paint every image of a task."""
    word, _, value = task.params.prompt.partition(" ")
    steps = int(value) if word == "steps" else STEPS
    images = task.params.image_number
    for image in range(1, images + 1):
        reporter.begin_image(image, images)
        try:
            for step in range(1, steps + 1):
                reporter.check()
                reporter.progress(100 * step // steps, "painting", step=step, steps=steps)
                time.sleep(STEP_S)
            if word == "raise":
                raise FAULTS[value]()
            reporter.image(paint(image, int(value) if word == "bytes" else 0))
        except ImageSkipped:
            continue


def paint(seed: int, size: int) -> MadeImage:
    """A picture file; of about ``size`` bytes where that is more than it takes."""
    side = max(SIDE, int((size / 3) ** 0.5))
    picture = Image.frombytes("RGB", (side, side), os.urandom(side * side * 3))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return MadeImage(data=buffer.getvalue(), extension="png", seed=seed, width=side, height=side)


if __name__ == "__main__":
    settings = load_settings(sys.argv[1:], os.environ)
    FolderLock(settings.outputs_dir)
    app = create_app(settings, [LocalWorker("painter", lambda _sink: generate)])
    run(app, settings.host, settings.port, settings.log_level)
