"""Tasks as ComfyUI's clients see prompts: ids, queue items, history entries, messages.

Each task is shown as a graph of one node, which says what is made; it cannot be executed.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from handlers.service.records import dashed_id
from pipeline.request.schema import GenerateParams
from storage.records import TaskRecord

NODE: Final = "1"
CLASS_TYPE: Final = "Focal"
_SHOWN: Final = ("prompt", "negative_prompt", "image_seed", "image_number", "base_model_name")
_END: Final[Mapping[str, tuple[str, str]]] = {  # of a task's status: message, status_str
    "finished": ("execution_success", "success"),
    "skip": ("execution_interrupted", "error"),
    "stop": ("execution_interrupted", "error"),
    "failed": ("execution_error", "error"),
}

Graph = dict[str, dict[str, Any]]
QueueItem = list[object]
"""Number, prompt id, graph, extra data, ids of the nodes whose outputs are kept."""


class OutputFile(msgspec.Struct, frozen=True, kw_only=True):
    """A picture, as ``GET /view`` takes it."""

    filename: str
    subfolder: str
    type: str = "output"


class NodeOutput(msgspec.Struct, frozen=True):
    """The pictures of a node."""

    images: list[OutputFile]


class PromptStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a prompt has ended, and the messages that told it."""

    status_str: str
    completed: bool
    messages: Annotated[list[list[object]], Meta(description="Type and data of each.")]


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An ended task."""

    prompt: QueueItem
    outputs: dict[str, NodeOutput]
    status: PromptStatus
    meta: dict[str, object] = {}


def queue_item(number: int, task_id: str, params: GenerateParams) -> QueueItem:
    """A waiting or running task."""
    fields = {name: getattr(params, name) for name in _SHOWN}
    return [number, dashed_id(task_id), _graph(fields), {}, [NODE]]


def history_entry(record: TaskRecord) -> HistoryEntry:
    """An ended task."""
    fields = {name: record.req_params.get(name) for name in _SHOWN}
    prompt_id = dashed_id(record.task_id)
    extra: dict[str, object] = {"family": record.family} if record.family else {}
    files = [file for path in record.result or () if (file := output_file(path)) is not None]
    return HistoryEntry(
        prompt=[record.id, prompt_id, _graph(fields), extra, [NODE]],
        outputs={NODE: NodeOutput(files)} if files else {},
        status=_status(record, prompt_id),
    )


def output_file(path: str) -> OutputFile | None:
    """The picture behind a path of this server; None for any other text."""
    match path.split("/"):
        case ["", "outputs", date, name]:
            return OutputFile(filename=name, subfolder=date)
    return None


def failure(error: str, code: str) -> dict[str, object]:
    """What an ``execution_error`` tells of the fault."""
    return {
        "node_id": NODE,
        "node_type": CLASS_TYPE,
        "executed": [],
        "exception_message": error,
        "exception_type": code,
        "traceback": [],
        "current_inputs": {},
        "current_outputs": [],
    }


def _graph(fields: Mapping[str, object]) -> Graph:
    return {NODE: {"class_type": CLASS_TYPE, "inputs": dict(fields), "_meta": {"title": "Focal"}}}


def _status(record: TaskRecord, prompt_id: str) -> PromptStatus:
    message, status = _END.get(record.task_status or "", _END["failed"])
    told: dict[str, object] = {"prompt_id": prompt_id, "timestamp": record.finish_mills}
    if message == "execution_error":
        told |= failure(str(record.error or ""), str(record.code or ""))
    messages: list[list[object]] = [[message, told]]
    if record.start_mills is not None:
        start: dict[str, object] = {"prompt_id": prompt_id, "timestamp": record.start_mills}
        messages.insert(0, ["execution_start", start])
    return PromptStatus(status_str=status, completed=status == "success", messages=messages)
