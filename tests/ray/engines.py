"""Engines for actors of Ray: without torch, and told what to do by the prompt.

``sleep S`` takes so many seconds in steps of 10 ms, without CPU; ``die`` kills its process at every
run, ``die once PATH`` unless that file exists.
"""

import os
import signal
import time
from pathlib import Path

from pipeline.errors import ImageSkipped, InvalidParameter
from pipeline.request.tools import ImageType, MaskOptions
from pipeline.scheduling.engine_protocol import Inputs, LoadedModel
from pipeline.scheduling.task import MadeImage, Reporter, Task
from pipeline.scheduling.worker_events import ModelState, Sink

STEP_S = 0.01


class Sketcher:
    """Makes "pictures" of a few bytes, a function of prompt, seed and inputs."""

    def __init__(self) -> None:
        self._models: tuple[LoadedModel, ...] = ()

    def __call__(self, task: Task, reporter: Reporter, inputs: Inputs) -> None:
        word, _, rest = task.params.prompt.partition(" ")
        model = task.params.base_model_name
        self._models = (LoadedModel(kind="checkpoint", name=model, seconds=0.1, since_mills=1),)
        if word == "die":
            _die(rest)
        for image in range(1, task.params.image_number + 1):
            reporter.begin_image(image, task.params.image_number)
            try:
                self._make(task, reporter, inputs, float(rest) if word == "sleep" else 0.0)
            except ImageSkipped:
                continue

    def _make(self, task: Task, reporter: Reporter, inputs: Inputs, seconds: float) -> None:
        steps = max(1, round(seconds / STEP_S))
        for step in range(1, steps + 1):
            reporter.check()
            if seconds:
                time.sleep(STEP_S)
            reporter.progress(100 * step // steps, "sketching", step=step, steps=steps)
        if reporter.wants_preview():
            reporter.preview(b"preview", "image/png")
        content = f"{task.params.prompt} {task.params.image_seed}".encode()
        reporter.note("threads", os.environ.get("OMP_NUM_THREADS"))
        reporter.image(
            MadeImage(
                data=content + b"".join(inputs.values()),
                extension="png",
                seed=task.params.image_seed,
                width=8,
                height=8,
            )
        )

    def loaded(self) -> tuple[LoadedModel, ...]:
        """The newest task's checkpoint."""
        return self._models

    def release(self) -> tuple[str, ...]:
        """Forget it."""
        names, self._models = tuple(model.name for model in self._models), ()
        return names

    def describe(self, picture: bytes, image_type: ImageType) -> str:
        """Its size."""
        if not picture:
            raise InvalidParameter(("image",), "there is no picture")
        return f"{image_type} of {len(picture)} bytes"

    def generate_mask(self, picture: bytes, options: MaskOptions) -> bytes:
        """The picture itself."""
        return picture


def build_sketcher(sink: Sink) -> Sketcher:
    """Tells of a model, as a real engine does."""
    sink(ModelState(kind="checkpoint", name="first", state="loaded", seconds=0.1))
    return Sketcher()


def _die(rest: str) -> None:
    if rest.startswith("once "):
        try:
            Path(rest.removeprefix("once ")).touch(exist_ok=False)
        except FileExistsError:
            return
    os.kill(os.getpid(), signal.SIGKILL)
