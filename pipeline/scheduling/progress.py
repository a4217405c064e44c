"""A task on a device: what it says while it works and what a person asks of it."""

import base64
import time
from collections.abc import Callable

import msgspec

from bus.events import (
    EventData,
    ModelLoaded,
    ModelLoading,
    TaskImage,
    TaskPreview,
    TaskProgress,
    now_ms,
)
from pipeline.errors import ImageSkipped, TaskAborted
from pipeline.scheduling.task import MadeImage, Outcome, Snapshot, Task, TaskStatus

PREVIEW_INTERVAL_S = 0.1  # at most ten previews a second a task

Publish = Callable[[EventData, str | None], None]
SaveImage = Callable[[MadeImage], str]
"""Writes a picture; returns its path on this server."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a task ended early. ``code`` is a ``PipelineError.code``."""

    code: str
    text: str


class Running:
    """One task while a device has it; the ``Reporter`` that the picture side talks to.

    The device thread calls the reporter's methods; the event loop reads ``snapshot`` and calls
    ``ask_to_stop`` and ``ask_to_skip``. What both touch is replaced whole, never changed in place.
    """

    def __init__(self, task: Task, device: str, publish: Publish, save: SaveImage) -> None:
        self.task = task
        self.device = device
        self.started_mills = now_ms()
        self.snapshot = Snapshot(message="Loading models ...")
        self.notes: dict[str, object] = {}
        self._publish = publish
        self._save = save
        self._stop = False
        self._skip = False
        self._skipped = False
        self._steps = 0
        self._image = 0
        self._images = task.params.image_number
        self._preview_at = float("-inf")
        self._finished: list[TaskImage] = []  # pictures that nobody was told of yet

    def ask_to_stop(self) -> None:
        """End the task at its next step. Asking again changes nothing."""
        self._stop = True

    def ask_to_skip(self) -> None:
        """End the picture being made at its next step and go on with the next one."""
        self._skip = True

    @property
    def stop_requested(self) -> bool:
        """Has someone asked for the end of the task?"""
        return self._stop

    def outcome(self, failure: Failure | None) -> Outcome:
        """How the task ended, once its device has come back; tells of pictures held until now."""
        self._tell_images()
        status: TaskStatus = "finished"
        if failure is not None:
            status = "stop" if failure.code == TaskAborted.code else "failed"
        elif self._skipped and not self.snapshot.images:
            status = "skip"
        failed = failure is not None and status == "failed"
        return Outcome(
            status=status,
            images=self.snapshot.images,
            code=failure.code if failed and failure else "",
            error=failure.text if failed and failure else "",
            started_mills=self.started_mills,
            finished_mills=now_ms(),
            steps=self._steps,
            notes=self.notes,
        )

    def check(self) -> None:
        """Raise TaskAborted or ImageSkipped if a person asked for it."""
        if self._stop:
            raise TaskAborted("stopped by the user")
        if self._skip:
            self._skip = False
            self._skipped = True
            raise ImageSkipped("skipped by the user")

    def progress(self, percent: int, message: str, *, step: int = 0, steps: int = 0) -> None:
        """Say how far the task is; a percentage below the last one is raised to it."""
        percent = max(self.snapshot.progress, min(100, percent))
        self.snapshot = msgspec.structs.replace(self.snapshot, progress=percent, message=message)
        self._steps = steps or self._steps
        event = TaskProgress(
            progress=percent,
            step=step,
            steps=steps,
            image=self._image,
            images=self._images,
            message=message,
        )
        self._publish(event, self.task.task_id)

    def begin_image(self, image: int, images: int) -> None:
        """Picture ``image`` (from 1) of ``images`` begins; earlier skips are forgotten."""
        self._image, self._images = image, images
        self._skip = False

    def wants_preview(self) -> bool:
        """Is a preview due? (previews on, and the last one is at least 100 ms old)."""
        if self.task.params.disable_preview:
            return False
        return time.monotonic() - self._preview_at >= PREVIEW_INTERVAL_S

    def preview(self, data: bytes, mime: str) -> None:
        """Show a small encoded picture."""
        self._preview_at = time.monotonic()
        url = f"data:{mime};base64,{base64.b64encode(data).decode()}"
        self.snapshot = msgspec.structs.replace(self.snapshot, preview=url)
        self._publish(TaskPreview(image=url), self.task.task_id)

    def image(self, made: MadeImage) -> None:
        """Save a finished picture and tell the world. Raises SavingFailed."""
        url = self._save(made)
        images = (*self.snapshot.images, url)
        self.snapshot = msgspec.structs.replace(self.snapshot, images=images)
        self._finished.append(TaskImage(url=url, seed=made.seed, index=len(images) - 1))
        if not self.task.params.disable_intermediate_results:
            self._tell_images()

    def _tell_images(self) -> None:
        for event in self._finished:
            self._publish(event, self.task.task_id)
        self._finished.clear()

    def note(self, key: str, value: object) -> None:
        """Add a fact about the run (native size, a skipped style) to the task's record."""
        self.notes = {**self.notes, key: value}

    def model(self, kind: str, name: str, seconds: float | None) -> None:
        """A model is being read (``seconds`` None) or is ready after ``seconds``."""
        if seconds is None:
            self._publish(ModelLoading(name=name, kind=kind), self.task.task_id)
        else:
            self._publish(ModelLoaded(name=name, kind=kind, seconds=seconds), self.task.task_id)
