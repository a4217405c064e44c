"""An engine as its worker calls it, always on one thread."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import msgspec

from pipeline.errors import PipelineError
from pipeline.request.resolved import ResolvedRequest
from pipeline.request.tools import ImageType, MaskOptions
from pipeline.scheduling.task import Reporter, Task

Inputs = Mapping[str, bytes]
"""The input image files of a task by their paths, such as ``/inputs/<name>``."""

Generate = Callable[[Task, Reporter, Inputs], None]
"""Makes all images of a task, through ``Reporter.image``. Raises PipelineError."""


class TaskJob(NamedTuple):
    """A task with its reporter and its input images."""

    task: Task
    reporter: Reporter
    inputs: Inputs


TaskEnded = Callable[[int, PipelineError | None], None]
"""Task number (from 0) has ended, whole or with an error."""


@runtime_checkable
class MakesBatches(Protocol):
    """A ``Generate`` that makes images of several tasks together."""

    def images_together(self, request: ResolvedRequest) -> int:
        """How many images such as this request's are made in one run. Any thread may call it."""

    def run_together(self, jobs: Sequence[TaskJob], ended: TaskEnded) -> None:
        """Make all images of the tasks; ``ended`` is called once for each, as soon as it has ended.

        What it raises ends all tasks that have not ended.
        """


class LoadedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model on a device. ``seconds`` is how long it took to load."""

    kind: str
    name: str
    seconds: float
    since_mills: int  # Unix ms
    device: str = ""


@runtime_checkable
class HoldsModels(Protocol):
    """A ``Generate`` that keeps models loaded between tasks."""

    def loaded(self) -> tuple[LoadedModel, ...]:
        """The models on the device. Unlike everything else, any thread may call it."""

    def release(self) -> tuple[str, ...]:
        """Unload every model and return its memory; the names of what was loaded."""


@runtime_checkable
class HasTools(Protocol):
    """A ``Generate`` with image tools. ``picture`` is a whole image file.

    Both raise PipelineError.
    """

    def describe(self, picture: bytes, image_type: ImageType) -> str:
        """A sentence about a photo, or the tags of a drawing."""

    def generate_mask(self, picture: bytes, options: MaskOptions) -> bytes:
        """A mask of something in it, as a grey PNG file of its size."""


class Hardware(msgspec.Struct, frozen=True, kw_only=True):
    """What a device is. ``memory_bytes``: all of it, used or not."""

    description: str  # such as "cuda:0 NVIDIA H200" or "cpu (7 threads, AVX512)"
    memory_bytes: int


@runtime_checkable
class NamesHardware(Protocol):
    """A ``Generate`` that can tell what it runs on."""

    def hardware(self) -> Hardware:
        """The device that was chosen, as people know it."""


@runtime_checkable
class ChecksDevice(Protocol):
    """A ``Generate`` that can tell a broken device from a failed task."""

    def device_fault(self) -> str | None:
        """Why the device can be used no more, None if it can. For after an unexpected error."""
