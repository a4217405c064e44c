"""What each method of the API sends and what it is answered: data, sent by either client."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar
from uuid import uuid4

import msgspec

from focal_client.errors import UNREADABLE, UnexpectedReply, error_of
from focal_client.structs import (
    ControlReply,
    Deleted,
    Health,
    HistoryReply,
    Marked,
    ModelOverview,
    QueueView,
    Restored,
    StoredInput,
    TaskRecord,
    TasksReply,
)

T = TypeVar("T")
GENERATE = "/v1/engine/generate/"
EVENTS = "/v1/events"


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request; its answer is JSON of ``reply``. ``may_repeat``: sent twice, it acts once."""

    method: str
    path: str
    reply: type[T]
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    may_repeat: bool = False
    wait_s: float = 0  # that the server takes its time, beside the time-out


def decode(call: Call[T], status: int, headers: Mapping[str, str], content: bytes) -> T:
    """The answer to a call. Raises ApiError for a refusal, UnexpectedReply for another's answer."""
    if status >= 400:
        raise error_of(status, headers, content)
    try:
        return msgspec.json.decode(content, type=call.reply)
    except UNREADABLE as error:
        raise UnexpectedReply(f"{call.method} {call.path}: {error}") from error


def _get(path: str, reply: type[T], **query: object) -> Call[T]:
    return Call("GET", path, reply, _texts(query), may_repeat=True)


def _post(path: str, reply: type[T], **query: object) -> Call[T]:
    return Call("POST", path, reply, _texts(query))


def _texts(query: Mapping[str, object]) -> dict[str, str]:
    """A query's values as text; None leaves one out."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in query.items()
        if value is not None
    }


def submit(params: Mapping[str, Any]) -> Call[TaskRecord]:
    """Queue a task. The key makes a repeat after a lost answer join the first one's task."""
    body = msgspec.json.encode({**params, "async_process": True})
    headers = {"Idempotency-Key": uuid4().hex}
    return Call("POST", GENERATE, TaskRecord, headers=headers, content=body, may_repeat=True)


def upload(data: bytes) -> Call[StoredInput]:
    """Store a picture once."""
    return Call("POST", "/inputs", StoredInput, content=data, may_repeat=True)


def task(task_id: str, wait_s: float = 0) -> Call[TaskRecord]:
    """One task, at once or when it has ended or ``wait_s`` are over (60 at most)."""
    query = {"wait": f"{wait_s:g}"} if wait_s else {}
    path = f"/tasks/{task_id}"
    return Call("GET", path, TaskRecord, query, may_repeat=True, wait_s=wait_s)


def tasks(query: str, page: int | None, page_size: int | None) -> Call[TasksReply]:
    """Queue and history, by page."""
    return _get("/tasks", TasksReply, query=query, page=page, page_size=page_size)


def history(search: str, status: str, offset: int, limit: int) -> Call[HistoryReply]:
    """Ended tasks as cards, newest first."""
    named = {"search": search or None, "status": status or None}
    return _get("/v1/history", HistoryReply, offset=offset, limit=limit, **named)


def retry(task_id: str) -> Call[TaskRecord]:
    """The same request again, as a new task."""
    path = f"/tasks/{task_id}/retry"
    headers = {"Idempotency-Key": uuid4().hex}
    return Call("POST", path, TaskRecord, headers=headers, may_repeat=True)


def delete(task_id: str) -> Call[Deleted]:
    """Delete an ended task; for a minute it can be restored."""
    return _post(f"/tasks/{task_id}/delete", Deleted)


def restore(task_id: str) -> Call[Restored]:
    """Take a deletion back."""
    return _post(f"/tasks/{task_id}/restore", Restored)


def favourite(task_id: str, on: bool) -> Call[Marked]:
    """Make a task a favourite, or no longer one."""
    return _post(f"/tasks/{task_id}/favourite", Marked, on=on)


def control(action: str, task_id: str | None) -> Call[ControlReply]:
    """Stop a task, or skip the picture being made; what runs, if no task is named."""
    return _post("/v1/engine/control", ControlReply, action=action, task_id=task_id)


def queue(limit: int) -> Call[QueueView]:
    """What runs and what waits."""
    return _get("/v1/queue", QueueView, limit=limit)


def pause(on: bool) -> Call[QueueView]:
    """Begin no more tasks, or go on."""
    return _post(f"/v1/queue/{'pause' if on else 'resume'}", QueueView)


def move(task_id: str, place: int) -> Call[QueueView]:
    """Put a waiting task at a place, from 0."""
    return _post("/v1/queue/move", QueueView, task_id=task_id, place=place)


def prioritise(task_id: str, priority: int) -> Call[QueueView]:
    """Give a waiting task a priority."""
    return _post("/v1/queue/priority", QueueView, task_id=task_id, priority=priority)


def models() -> Call[ModelOverview]:
    """What a request may name, what is loaded, memory."""
    return _get("/v1/models", ModelOverview)


def styles() -> Call[list[str]]:
    """Every style's name."""
    return _get("/v1/engines/styles", list[str])


def health() -> Call[Health]:
    """Is the server alive, and can it make pictures?"""
    return _get("/health", Health)


def uploads_of(params: Mapping[str, Any]) -> dict[tuple[str | int, ...], bytes | Path]:
    """The pictures of a request that are bytes or files here, by their places in it."""
    found: dict[tuple[str | int, ...], bytes | Path] = {}
    waiting: list[tuple[tuple[str | int, ...], Any]] = [((), params)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, bytes | Path):
            found[place] = value
        elif isinstance(value, Mapping):
            waiting += [((*place, name), inner) for name, inner in value.items()]
        elif isinstance(value, list | tuple):
            waiting += [((*place, index), inner) for index, inner in enumerate(value)]
    return found


def with_paths(value: Any, paths: Mapping[tuple[str | int, ...], str], place: Any = ()) -> Any:
    """A request with the paths of its uploads in their places."""
    if place in paths:
        return paths[place]
    if isinstance(value, Mapping):
        return {name: with_paths(inner, paths, (*place, name)) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [with_paths(inner, paths, (*place, i)) for i, inner in enumerate(value)]
    return value
