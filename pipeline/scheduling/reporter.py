"""What an engine reports during a run, as worker events; the device-thread side of a task."""

import time
from typing import Final

from pipeline.errors import ImageSkipped, TaskAborted
from pipeline.scheduling.task import MadeImage, Task
from pipeline.scheduling.worker_events import (
    ImageDone,
    ModelState,
    Note,
    Preview,
    Progress,
    Sink,
    Skipped,
)

PREVIEW_INTERVAL_S: Final = 0.1  # at most ten previews a second


class RunReporter:
    """The ``Reporter`` of one run.

    The engine calls it on its thread; ``cancel`` may come from any other.
    """

    def __init__(self, task: Task, sink: Sink) -> None:
        self._sink = sink
        self._wants_previews = not task.params.disable_preview
        self._stop = False
        self._skip = False
        self._image = 0
        self._images = task.params.image_number
        self._preview_at = float("-inf")

    def cancel(self, *, skip: bool) -> None:
        """Let the next ``check`` raise."""
        if skip:
            self._skip = True
        else:
            self._stop = True

    def check(self) -> None:
        """As ``Reporter.check``."""
        if self._stop:
            raise TaskAborted("stopped by the user")
        if self._skip:
            self._skip = False
            self._sink(Skipped())
            raise ImageSkipped("skipped by the user")

    def progress(self, percent: int, message: str, *, step: int = 0, steps: int = 0) -> None:
        """As ``Reporter.progress``."""
        self._sink(
            Progress(
                percent=percent,
                message=message,
                step=step,
                steps=steps,
                image=self._image,
                images=self._images,
            )
        )

    def begin_image(self, image: int, images: int) -> None:
        """As ``Reporter.begin_image``."""
        self._image, self._images = image, images
        self._skip = False

    def wants_preview(self) -> bool:
        """As ``Reporter.wants_preview``."""
        return self._wants_previews and time.monotonic() - self._preview_at >= PREVIEW_INTERVAL_S

    def preview(self, data: bytes, mime: str) -> None:
        """As ``Reporter.preview``."""
        self._preview_at = time.monotonic()
        self._sink(Preview(data, mime))

    def image(self, made: MadeImage) -> None:
        """As ``Reporter.image``."""
        self._sink(ImageDone(made))

    def note(self, key: str, value: object) -> None:
        """As ``Reporter.note``."""
        self._sink(Note(key, value))

    def model(self, kind: str, name: str, seconds: float | None) -> None:
        """As ``Reporter.model``."""
        state = ModelState(
            kind=kind,
            name=name,
            state="loading" if seconds is None else "loaded",
            seconds=seconds or 0.0,
        )
        self._sink(state)
