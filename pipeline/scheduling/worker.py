"""The border between the server and whatever makes its pictures: structs and bytes only.

``LocalWorker`` is a thread of this process. A worker may as well live in another process or on
another machine, so no closure, tensor or open file crosses.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import msgspec
from msgspec import UNSET, UnsetType

from pipeline.request.resolved import ResolvedRequest
from pipeline.request.tools import ImageType, MaskOptions
from pipeline.scheduling.engine_protocol import Hardware, Inputs, LoadedModel
from pipeline.scheduling.task import Task
from pipeline.scheduling.worker_events import Sink


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a task ended early. ``code`` is a ``PipelineError.code``."""

    code: str
    text: str


class DeviceState(msgspec.Struct, frozen=True, kw_only=True):
    """State of one device. ``error`` says why it failed; a failed device is tried again."""

    name: str
    state: Literal["starting", "ready", "failed"] = "starting"
    error: str = ""
    hardware: Hardware | UnsetType = UNSET  # what ``name`` stands for, once it is known


class WorkerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A worker as operators see it. The counts are since the server's start."""

    id: str  # the device's name
    state: Literal["starting", "ready", "failed"]
    error: str
    draining: bool  # it takes no more tasks
    node: str  # the machine's name; empty: the server's own process
    hardware: Hardware | UnsetType = UNSET
    memory_bytes: int  # that its process takes; 0: not known, or the server's own process
    tasks: tuple[str, ...]  # ids of those that it has
    models: tuple[str, ...]  # that are loaded, as far as known
    pictures: int
    failures: int  # how often it failed or was lost


@runtime_checkable
class RunsElsewhere(Protocol):
    """A ``Worker`` in another process, maybe on another machine."""

    @property
    def node(self) -> str:
        """The machine's name."""

    @property
    def memory(self) -> int:
        """Resident bytes of its process, as far as known; else 0."""


def overall_state(devices: Iterable[DeviceState]) -> Literal["starting", "ready", "degraded"]:
    """``degraded`` if any device has failed: fewer tasks run, or none, and all others wait."""
    states = {device.state for device in devices}
    if "failed" in states:
        return "degraded"
    return "ready" if "ready" in states else "starting"


class Describe(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Describe a picture file in words."""

    picture: bytes
    image_type: ImageType


class DrawMask(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Draw a mask of something in a picture file."""

    picture: bytes
    options: MaskOptions


ToolRequest = Describe | DrawMask


class ToolReply(msgspec.Struct, frozen=True, kw_only=True):
    """``text`` of a description, or ``picture``: the mask as a grey PNG file."""

    text: str = ""
    picture: bytes = b""


class Assignment(NamedTuple):
    """A task for a worker, as ``Worker.run`` takes it."""

    task: Task
    inputs: Inputs
    sink: Sink


@runtime_checkable
class RunsTogether(Protocol):
    """A ``Worker`` that can make the pictures of several tasks in one run."""

    def images_together(self, request: ResolvedRequest) -> int:
        """How many pictures such as this request's it makes together; 1 while it is not ready."""

    def run_together(self, assignments: Sequence[Assignment]) -> tuple[Future[Failure | None], ...]:
        """As ``run`` for each of the tasks, which end one by one."""


class Worker(Protocol):
    """Makes the pictures of one task at a time. Its methods are called on the event loop.

    Calls return at once; their futures complete on any thread, in the order of the calls. A worker
    that cannot go on sets its state to ``failed``, ends its run with the code ``worker_lost``, or
    reports WorkerFailed if it has none; ``start`` is then called again.
    """

    @property
    def name(self) -> str:
        """The device's name, unique among the workers."""

    @property
    def state(self) -> DeviceState:
        """The newest state."""

    def start(self, sink: Sink) -> Future[Failure | None]:
        """Get ready, which may take minutes. ``sink`` receives what belongs to no task."""

    def run(self, task: Task, inputs: Inputs, sink: Sink) -> Future[Failure | None]:
        """Make the task's pictures. ``sink`` has received every event when the future is done."""

    def cancel(self, task_id: str, *, skip: bool = False) -> None:
        """End that run, or with ``skip`` the image being made, at the next step."""

    def tool(self, request: ToolRequest) -> Future[ToolReply]:
        """Use an image tool before the next run. The future raises PipelineError."""

    def loaded(self) -> tuple[LoadedModel, ...]:
        """The models on the device, as far as known now."""

    def release(self) -> Future[tuple[str, ...]]:
        """Unload every model before the next run; their names."""

    def close(self) -> None:
        """End after what was asked; does not wait."""
