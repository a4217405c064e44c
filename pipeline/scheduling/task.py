"""A task and what is known of it while it lives in memory. Knows no queue and no database."""

import logging
from collections.abc import Callable
from typing import Literal, Protocol, runtime_checkable

import msgspec

from pipeline.errors import ImageSkipped, InputMissing
from pipeline.request.delivery import Delivery
from pipeline.request.resolved import ResolvedRequest
from pipeline.request.schema import GenerateParams
from pipeline.request.tools import ImageType, MaskOptions

log = logging.getLogger(__name__)

TaskStatus = Literal["finished", "stop", "skip", "failed"]


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One accepted request: what is to be made, and how the result reaches the client."""

    task_id: str  # uuid4 hex
    request: ResolvedRequest
    in_queue_mills: int  # Unix ms
    delivery: Delivery = Delivery()

    @property
    def params(self) -> GenerateParams:
        """The request's complete parameters."""
        return self.request.params


class MadeImage(msgspec.Struct, frozen=True, kw_only=True):
    """One encoded picture, metadata inside, as it goes to disk."""

    data: bytes
    extension: str  # "png", "jpeg", "jpg" or "webp"
    seed: int
    width: int
    height: int


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a task ended. ``images`` are paths such as ``/outputs/2026-11-23/….png``, in order."""

    status: TaskStatus
    images: tuple[str, ...] = ()
    error: str = ""
    code: str = ""
    started_mills: int | None = None  # None: it never ran
    finished_mills: int = 0
    steps: int = 0  # denoising steps of a picture
    notes: dict[str, object] = {}  # what the run adds to the record, such as the native size

    @property
    def seconds(self) -> float:
        """Time on the device."""
        if self.started_mills is None:
            return 0.0
        return (self.finished_mills - self.started_mills) / 1000


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The newest state of a running task; replaced whole, so any thread may read it."""

    progress: int = 0
    message: str = ""
    preview: str = ""  # a data URL, or "" before the first
    images: tuple[str, ...] = ()


class Reporter(Protocol):
    """What the picture side may tell while it works. Called on the device thread only."""

    def check(self) -> None:
        """Raise TaskAborted or ImageSkipped if a person asked for it."""

    def progress(self, percent: int, message: str, *, step: int = 0, steps: int = 0) -> None:
        """Say how far the task is; a percentage below the last one is raised to it."""

    def begin_image(self, image: int, images: int) -> None:
        """Picture ``image`` (from 1) of ``images`` begins; earlier skips are forgotten."""

    def wants_preview(self) -> bool:
        """Is a preview due? (previews on, and the last one is at least 100 ms old)."""

    def preview(self, data: bytes, mime: str) -> None:
        """Show a small encoded picture."""

    def image(self, made: MadeImage) -> None:
        """Save a finished picture and tell the world. Raises SavingFailed."""

    def note(self, key: str, value: object) -> None:
        """Add a fact about the run (native size, a skipped style) to the task's record."""

    def model(self, kind: str, name: str, seconds: float | None) -> None:
        """A model is being read (``seconds`` None) or is ready after ``seconds``."""


def check_stopped(reporter: Reporter) -> None:
    """Raise TaskAborted if a person asked for it; there is no picture yet that could be skipped."""
    try:
        reporter.check()
    except ImageSkipped:
        log.info("nothing is skipped before the first picture is begun")


class InputPictures(Protocol):
    """The pictures that requests brought along, as ``storage.inputs`` keeps them. Any thread."""

    def read(self, path: str) -> bytes:
        """A picture file by its path, ``/inputs/<name>``. Raises PipelineError if it is gone."""


class NoInputs:
    """``InputPictures`` where no request brings any, as in tools that paint by prompts alone."""

    def read(self, path: str) -> bytes:
        """Raises InputMissing."""
        raise InputMissing(f"there are no input pictures here, so no {path}")


Generate = Callable[[Task, Reporter], None]
"""Makes all pictures of a task, through ``Reporter.image``; raises PipelineError."""


@runtime_checkable
class HoldsModels(Protocol):
    """A ``Generate`` that keeps models loaded between tasks. Called on its device's thread."""

    def release(self) -> tuple[str, ...]:
        """Drop every model, say so, and give its memory back; the names of what was loaded."""


@runtime_checkable
class HasTools(Protocol):
    """A ``Generate`` that looks into pictures, too. Called on its device's thread.

    ``picture`` is a whole picture file; both raise PipelineError.
    """

    def describe(self, picture: bytes, image_type: ImageType) -> str:
        """Words for it: a sentence, or tags of a drawing."""

    def generate_mask(self, picture: bytes, options: MaskOptions) -> bytes:
        """A mask of something in it, as a grey PNG file of its size."""
