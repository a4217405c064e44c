"""POST /v1/engine/control: stop tasks, or skip the picture being made."""

from typing import Annotated, Literal

import msgspec
from aiohttp import web
from msgspec import Meta

from handlers.http.operation import Operation, Payload
from handlers.http.respond import json_response
from handlers.service.tasks import Tasks
from handlers.service_keys import TASKS


class ControlQuery(msgspec.Struct, kw_only=True):
    """The query of the control endpoint."""

    action: Annotated[Literal["stop", "skip"], Meta(description="What to do.")]
    task_id: Annotated[str, Meta(description="Which task; else what runs.")] = ""


class ControlReply(msgspec.Struct, frozen=True):
    """What was done."""

    message: str


@Operation(
    name="control",
    tag="engine",
    summary="Stop a task, or skip the picture being made",
    reply=Payload(type=ControlReply),
    errors=(401, 403, 404, 422),
)
async def control(request: web.Request, query: ControlQuery) -> web.Response:
    """Stop or skip the running task, or the named one. Idempotent.

    Stop ends a waiting task too; skip affects only a running one. 404 for an unknown task.
    """
    task_id = query.task_id or None
    tasks = request.app[TASKS]
    if query.action == "stop":
        done = await tasks.stop(task_id)
        message = "Stopped" if done else await _why_not(tasks, task_id)
    else:
        done = tasks.skip(task_id)
        message = "Skipped" if done else await _why_not(tasks, task_id)
    return json_response(ControlReply(message))


async def _why_not(tasks: Tasks, task_id: str | None) -> str:
    """Why there was nothing to do. Raises NotFound for an unknown task."""
    if task_id is None:
        return "No task is running"
    if tasks.position(task_id) is not None:
        return "The task waits; there is no picture to skip yet"
    await tasks.find(task_id)
    return "The task had ended"
