"""POST /v1/engine/control: stop tasks, or skip the picture being made."""

import asyncio

import msgspec
from aiohttp import web

from handlers.http.query import wrong_query
from handlers.http.respond import json_response
from handlers.keys import EXECUTOR, HISTORY
from handlers.service.errors import NotFound


class ControlReply(msgspec.Struct, frozen=True):
    """What was done."""

    message: str


async def control(request: web.Request) -> web.Response:
    """Stop or skip the running task, or the named one. Asking again changes nothing.

    Stop ends a waiting task too; skip touches only what runs. 404 for an unknown task.
    """
    action = request.query.get("action", "")
    task_id = request.query.get("task_id") or None
    if action == "stop":
        # A stop that has begun must close the task's row, also when the client leaves.
        done = await asyncio.shield(request.app[EXECUTOR].stop(task_id))
        message = "Stopped" if done else await _why_not(request, task_id)
    elif action == "skip":
        done = request.app[EXECUTOR].skip(task_id)
        message = "Skipped" if done else await _why_not(request, task_id)
    else:
        raise wrong_query("action", "Expected stop or skip")
    return json_response(ControlReply(message))


async def _why_not(request: web.Request, task_id: str | None) -> str:
    """Why there was nothing to do. Raises 404 for a task that never was."""
    if task_id is None:
        return "No task is running"
    if request.app[EXECUTOR].waiting_task(task_id) is not None:
        return "The task waits; there is no picture to skip yet"
    if await request.app[HISTORY].get(task_id) is None:
        raise NotFound("there is no such task")
    return "The task had ended"
