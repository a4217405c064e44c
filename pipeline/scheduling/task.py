"""A task, its outcome and its snapshot, and what an engine reports while it makes the images."""

import logging
from typing import Literal, Protocol

import msgspec

from pipeline.errors import ImageSkipped
from pipeline.request.delivery import Delivery
from pipeline.request.resolved import ResolvedRequest
from pipeline.request.schema import GenerateParams

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
    """One encoded image file, metadata inside, as it goes to disk."""

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
    started_mills: int | None = None  # Unix ms; None: it never ran
    finished_mills: int = 0
    steps: int = 0  # denoising steps of an image
    notes: dict[str, object] = {}  # facts of the run for the record, such as the native size

    @property
    def seconds(self) -> float:
        """Time on the device."""
        if self.started_mills is None:
            return 0.0
        return (self.finished_mills - self.started_mills) / 1000


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The newest state of a running task. ``images`` are those saved so far.

    ``step`` and ``image`` count from 1, as in ``TaskProgress``; 0: not yet.
    """

    progress: int = 0
    step: int = 0
    steps: int = 0
    image: int = 0
    message: str = ""
    preview: str = ""  # a data URL, or "" before the first
    images: tuple[str, ...] = ()


class Reporter(Protocol):
    """What an engine reports during a run. Called on the engine's thread; never blocks."""

    def check(self) -> None:
        """Raise TaskAborted or ImageSkipped if the client asked for it."""

    def progress(self, percent: int, message: str, *, step: int = 0, steps: int = 0) -> None:
        """Say how far the task is, 0-100. Clients never see it fall."""

    def begin_image(self, image: int, images: int) -> None:
        """Image ``image`` (from 1) of ``images`` begins; earlier requests to skip are void."""

    def wants_preview(self) -> bool:
        """Whether previews are on and the last one is at least 100 ms old."""

    def preview(self, data: bytes, mime: str) -> None:
        """Report a small encoded picture of the image so far."""

    def image(self, made: MadeImage) -> None:
        """Report a finished image. It is saved afterwards; a failure to save cancels the run."""

    def note(self, key: str, value: object) -> None:
        """Add a fact about the run (native size, a skipped style) to the task's record as JSON."""

    def model(self, kind: str, name: str, seconds: float | None) -> None:
        """A model is being read (``seconds`` None) or is ready after ``seconds``."""


def check_stopped(reporter: Reporter) -> None:
    """Raise TaskAborted if the task was stopped. A skip is void: no image has begun."""
    try:
        reporter.check()
    except ImageSkipped:
        log.info("nothing is skipped before the first image has begun")
