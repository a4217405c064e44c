"""Every event a client can see: the wire contract of ``/v1/events`` and ``/ws``.

On the wire an event is ``{"seq": n, "ts": ms, "type": "…", "task_id": "…" | null, "data": {…}}``;
the structs here are the ``data`` of each type.
"""

import time
from typing import ClassVar

import msgspec


class EventData(msgspec.Struct, frozen=True, kw_only=True):
    """What an event says. Immutable, so threads may share it."""

    type: ClassVar[str]
    lossy: ClassVar[bool] = False  # may a newer one of the same type and task replace it?


class TaskQueued(EventData, frozen=True):
    """A task was admitted; ``position`` tasks, those that run included, come before it.

    Published once per task, and again if it returns because its worker was lost:
    ``queue.changed`` says how places change.
    """

    type = "task.queued"
    lossy = True  # in a full mailbox it gives way, and the reader sees that it missed a revision
    position: int


class TaskStarted(EventData, frozen=True):
    """A device took the task."""

    type = "task.started"
    device: str


class TaskProgress(EventData, frozen=True):
    """``progress`` is 0-100 and never falls; ``step`` and ``image`` count from 1 (0: not yet)."""

    type = "task.progress"
    lossy = True
    progress: int
    step: int
    steps: int
    image: int
    images: int
    message: str


class TaskPreview(EventData, frozen=True):
    """The picture as the model sees it so far. ``image`` is a data URL."""

    type = "task.preview"
    lossy = True
    image: str


class TaskImage(EventData, frozen=True):
    """A picture of the task is on disk. ``url`` is a path on this server; ``index`` is from 0."""

    type = "task.image"
    url: str
    seed: int
    index: int


class TaskFinished(EventData, frozen=True):
    """The task is over; ``images`` are paths on this server, ``seconds`` its time on the device."""

    type = "task.finished"
    images: tuple[str, ...]
    seconds: float


class TaskFailed(EventData, frozen=True):
    """The task is over without its pictures. ``code`` is a ``PipelineError.code``."""

    type = "task.failed"
    code: str
    error: str


class TaskStopped(EventData, frozen=True):
    """A person ended the task; ``images`` are those made before."""

    type = "task.stopped"
    images: tuple[str, ...] = ()


class TaskSkipped(EventData, frozen=True):
    """A person skipped every picture that the task still owed; ``images`` are those made before."""

    type = "task.skipped"
    images: tuple[str, ...] = ()


class PlaceChange(msgspec.Struct, frozen=True, kw_only=True):
    """A task that entered, left or moved in the queue.

    Places count from 0 the waiting tasks only; None: it did not wait before, or not afterwards.
    """

    task_id: str
    before: int | None
    after: int | None


class QueueChanged(EventData, frozen=True):
    """Counts of the queue; ``paused``: no more tasks are begun.

    ``revision`` numbers the states of who waits where, and ``change`` led to it. Between two
    changes of places it stays the same, so a newer event may replace an older one: a reader that
    sees the revision grow by more than one has missed a change.
    """

    type = "queue.changed"
    lossy = True
    pending: int
    running: int
    paused: bool = False
    revision: int = 0
    change: PlaceChange | None = None


class HistoryDeleted(EventData, frozen=True):
    """Rows and their pictures are gone. ``left`` stay: a file of theirs cannot be removed."""

    type = "history.deleted"
    task_ids: tuple[str, ...]
    left: tuple[str, ...] = ()


class HistoryRestored(EventData, frozen=True):
    """Deleted tasks are back, with their pictures."""

    type = "history.restored"
    task_ids: tuple[str, ...]


class TaskMarked(EventData, frozen=True):
    """A person made the task a favourite, or took that back."""

    type = "task.marked"
    favourite: bool


class ModelLoading(EventData, frozen=True):
    """A model file is being read."""

    type = "model.loading"
    name: str
    kind: str
    device: str


class ModelLoaded(EventData, frozen=True):
    """A model is on its device."""

    type = "model.loaded"
    name: str
    kind: str
    device: str
    seconds: float


class ModelUnloaded(EventData, frozen=True):
    """A model left its device."""

    type = "model.unloaded"
    name: str
    kind: str
    device: str


class DownloadProgress(EventData, frozen=True):
    """Bytes of a model file fetched so far; ``total`` is 0 where the sender does not say."""

    type = "download.progress"
    lossy = True
    name: str
    received: int
    total: int


class CatalogChanged(EventData, frozen=True):
    """Model files or presets came or went: ``GET /v1/models`` lists what there is now."""

    type = "catalog.changed"
    lossy = True


class ServerStatus(EventData, frozen=True):
    """``starting``, ``ready``, ``degraded`` (a device failed: see ``detail``) or ``stopping``."""

    type = "server.status"
    status: str
    detail: str = ""


class BusGap(EventData, frozen=True):
    """Told to one reader: events ``first`` to ``last`` are gone and cannot be replayed."""

    type = "bus.gap"
    first: int
    last: int


EVENT_TYPES: tuple[type[EventData], ...] = (
    TaskQueued,
    TaskStarted,
    TaskProgress,
    TaskPreview,
    TaskImage,
    TaskFinished,
    TaskFailed,
    TaskStopped,
    TaskSkipped,
    QueueChanged,
    HistoryDeleted,
    HistoryRestored,
    TaskMarked,
    ModelLoading,
    ModelLoaded,
    ModelUnloaded,
    DownloadProgress,
    CatalogChanged,
    ServerStatus,
    BusGap,
)
TERMINAL: tuple[type[EventData], ...] = (TaskFinished, TaskFailed, TaskStopped, TaskSkipped)


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000
