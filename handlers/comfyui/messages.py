"""The bus's events as messages of ComfyUI's WebSocket: JSON text, and previews as binary."""

from collections.abc import Iterator
from typing import Final

import msgspec

from bus.events import (
    EventData,
    QueueChanged,
    TaskFailed,
    TaskFinished,
    TaskPreview,
    TaskProgress,
    TaskSkipped,
    TaskStarted,
    TaskStopped,
)
from bus.subscription import PREVIEW_FORMATS, Event
from handlers.comfyui.views import CLASS_TYPE, NODE, failure, output_file
from handlers.service.records import dashed_id
from pipeline.scheduling.progress import RunningTask

TOLD: Final[tuple[type[EventData], ...]] = (
    QueueChanged,
    TaskStarted,
    TaskProgress,
    TaskPreview,
    TaskFinished,
    TaskFailed,
    TaskStopped,
    TaskSkipped,
)
Message = str | bytes

_PREVIEW_HEAD: Final = 4 + 1 + 32  # magic, format and task of the bus's own preview frames
_PREVIEW_IMAGE: Final = 1
_PREVIEW_WITH_METADATA: Final = 4
_MIME_OF: Final = {number: mime for mime, number in PREVIEW_FORMATS.items()}
_SENDABLE: Final = frozenset((1, 2))  # JPEG and PNG have the same numbers in ComfyUI
_encode: Final = msgspec.json.Encoder().encode


class Translator:
    """Encodes one client's messages; tracks the tasks that were reported to it as running."""

    def __init__(self) -> None:
        self.with_metadata = False  # of previews, for a client that says it takes it
        self._running: set[str] = set()

    def resumed(self, running: RunningTask) -> Iterator[Message]:
        """The messages for a client that connects while a task runs."""
        task_id = running.task.task_id
        yield from self._started(task_id, running.started_mills)
        yield from _progress(dashed_id(task_id), running.snapshot.progress)

    def messages(self, event: Event) -> Iterator[Message]:
        """The messages of an event; none where ComfyUI has no equivalent."""
        data, task_id = event.data, event.task_id or ""
        match data:
            case QueueChanged(pending=pending, running=running):
                yield status(pending + running)
            case TaskStarted():
                yield from self._started(task_id, event.ts)
            case TaskProgress(progress=progress):
                yield from _progress(dashed_id(task_id), progress)
            case TaskPreview():
                yield from self._preview(event, task_id)
            case TaskFinished() | TaskFailed() | TaskStopped() | TaskSkipped():
                yield from self._ended(data, task_id, event.ts)

    def _started(self, task_id: str, at_ms: int) -> Iterator[Message]:
        prompt_id = dashed_id(task_id)
        self._running.add(task_id)
        yield message("execution_start", prompt_id=prompt_id, timestamp=at_ms)
        yield message("execution_cached", nodes=[], prompt_id=prompt_id, timestamp=at_ms)
        yield message("executing", node=NODE, display_node=NODE, prompt_id=prompt_id)

    def _ended(self, data: EventData, task_id: str, at_ms: int) -> Iterator[Message]:
        if task_id not in self._running:  # it was ended while it waited, which is no execution
            return
        self._running.discard(task_id)
        prompt_id = dashed_id(task_id)
        if images := getattr(data, "images", ()):
            files = [file for path in images if (file := output_file(path)) is not None]
            output = {"images": files}
            yield message(
                "executed", node=NODE, display_node=NODE, output=output, prompt_id=prompt_id
            )
        match data:
            case TaskFinished():
                yield message("execution_success", prompt_id=prompt_id, timestamp=at_ms)
            case TaskFailed(error=error, code=code):
                fault = failure(error, code)
                yield message("execution_error", prompt_id=prompt_id, timestamp=at_ms, **fault)
            case _:
                yield message(
                    "execution_interrupted",
                    prompt_id=prompt_id,
                    timestamp=at_ms,
                    node_id=NODE,
                    node_type=CLASS_TYPE,
                    executed=[],
                )
        yield message("executing", node=None, prompt_id=prompt_id)

    def _preview(self, event: Event, task_id: str) -> Iterator[Message]:
        frame = event.preview_frame
        if frame is None or frame[4] not in _SENDABLE:
            return
        number, image = frame[4], frame[_PREVIEW_HEAD:]
        if not self.with_metadata:
            yield _PREVIEW_IMAGE.to_bytes(4) + number.to_bytes(4) + image
            return
        told = _encode(
            {
                "image_type": _MIME_OF[number],
                "prompt_id": dashed_id(task_id),
                "node_id": NODE,
                "display_node_id": NODE,
                "real_node_id": NODE,
                "parent_node_id": None,
            }
        )
        yield _PREVIEW_WITH_METADATA.to_bytes(4) + len(told).to_bytes(4) + told + image


def status(remaining: int, sid: str = "") -> str:
    """The count of tasks that run or wait; with the client's id in its first message."""
    told = {"status": {"exec_info": {"queue_remaining": remaining}}}
    return message("status", **told, **({"sid": sid} if sid else {}))


def message(kind: str, **data: object) -> str:
    """A text message."""
    return _encode({"type": kind, "data": data}).decode()


def _progress(prompt_id: str, percent: int) -> Iterator[Message]:
    """Percentage of the whole task, so that it never decreases."""
    yield message("progress", value=percent, max=100, prompt_id=prompt_id, node=NODE)
    node = {
        "value": percent,
        "max": 100,
        "state": "running",
        "node_id": NODE,
        "prompt_id": prompt_id,
        "display_node_id": NODE,
        "parent_node_id": None,
        "real_node_id": NODE,
    }
    yield message("progress_state", prompt_id=prompt_id, nodes={NODE: node})
