"""A device that draws grey squares at once, or waits where a test tells it to."""

import threading
from io import BytesIO

from PIL import Image

from pipeline.errors import ImageSkipped
from pipeline.scheduling.engine_protocol import Inputs
from pipeline.scheduling.task import MadeImage, Reporter, Task
from pipeline.scheduling.worker_events import Sink
from settings import Settings

STEPS = 4
WAIT_S = 20.0
PAUSE_S = 0.02


def encode(extension: str, value: int) -> bytes:
    """An 8x8 grey picture."""
    buffer = BytesIO()
    kind = "JPEG" if extension in ("jpg", "jpeg") else extension.upper()
    Image.new("RGB", (8, 8), (value % 256,) * 3).save(buffer, format=kind)
    return buffer.getvalue()


class FakeDevice:
    """Stands where the model would. A closed ``gate`` holds a task at its next step.

    ``started`` tells that a task has reached the device, ``skipped`` that a picture was skipped;
    ``failure`` is raised in place of a picture. With ``turns``, each word of progress needs one.
    """

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Event()
        self.skipped = threading.Event()
        self.failure: Exception | None = None
        self.turns: threading.Semaphore | None = None
        self._hold_at = 0
        self.seen: list[Task] = []
        self.inputs: dict[str, bytes] = {}  # of the newest task

    def build(self, settings: Settings, sink: Sink) -> "FakeDevice":
        """Called on the device thread, as a worker builds its engine."""
        return self

    def hold_at_step(self, step: int) -> None:
        """Hold every picture when this step begins, and tell ``started`` only then."""
        self._hold_at = step
        self.gate.clear()

    def __call__(self, task: Task, reporter: Reporter, inputs: Inputs) -> None:
        self.seen.append(task)
        self.inputs = dict(inputs)
        self._tell(reporter, 2, "Loading models ...")
        if self._hold_at == 0:
            self.started.set()
        for image in range(1, task.params.image_number + 1):
            reporter.begin_image(image, task.params.image_number)
            try:
                self._make(task, reporter, image)
            except ImageSkipped:
                self.skipped.set()

    def _make(self, task: Task, reporter: Reporter, image: int) -> None:
        images = task.params.image_number
        self._tell(reporter, 13, f"Preparing task {image}/{images} ...")
        for step in range(1, STEPS + 1):
            self._hold(reporter, step)
            percent = int(13 + 87 * ((image - 1) * STEPS + step - 1) / (STEPS * images))
            if reporter.wants_preview():
                reporter.preview(encode("png", step), "image/png")
            message = f"Sampling step {step}/{STEPS}, image {image}/{images} ..."
            self._tell(reporter, percent, message, step)
        if self.failure is not None:
            raise self.failure
        seed = task.params.image_seed + image - 1
        kind = task.params.output_format
        percent = int(13 + 87 * image / images)
        self._tell(reporter, percent, f"Saving image {image}/{images} to system ...")
        data = encode(kind, seed)
        reporter.image(MadeImage(data=data, extension=kind, seed=seed, width=8, height=8))

    def _tell(self, reporter: Reporter, percent: int, message: str, step: int = 0) -> None:
        if self.turns is not None and not self.turns.acquire(timeout=WAIT_S):
            raise TimeoutError("the test gave no turn")
        reporter.progress(percent, message, step=step, steps=STEPS if step else 0)

    def _hold(self, reporter: Reporter, step: int) -> None:
        reporter.check()
        if step < self._hold_at:
            return
        if step == self._hold_at:
            self.started.set()
        for _ in range(int(WAIT_S / PAUSE_S)):
            if self.gate.wait(PAUSE_S):
                break
            reporter.check()
        reporter.check()
