"""POST /tasks/{task_id}/delete and /restore."""

import msgspec
from aiohttp import web

from handlers.http.operation import Operation, Payload
from handlers.http.respond import json_response
from handlers.service_keys import DELETION, TASKS


class Deleted(msgspec.Struct, frozen=True):
    """The task is out of the history; until this Unix time in ms it can be restored."""

    task_id: str
    until_mills: int


class Restored(msgspec.Struct, frozen=True):
    """The task is back."""

    task_id: str


@Operation(
    name="delete_task",
    tag="history",
    summary="Delete an ended task; for a minute it can be restored",
    description="Row and picture files are removed when the time is over.",
    reply=Payload(type=Deleted),
    errors=(401, 403, 404, 409, 503, 507),
)
async def delete_task(request: web.Request) -> web.Response:
    """Take an ended task out of the history. Its files stay until it cannot be restored."""
    task_id = request.match_info["task_id"]
    request.app[TASKS].check_not_live(task_id)
    return json_response(Deleted(task_id, await request.app[DELETION].delete(task_id)))


@Operation(
    name="restore_task",
    tag="history",
    summary="Take a deletion back",
    reply=Payload(type=Restored),
    errors=(401, 403, 404, 503, 507),
)
async def restore_task(request: web.Request) -> web.Response:
    """Take a deletion back; no change for a task that is there."""
    task_id = request.match_info["task_id"]
    await request.app[DELETION].restore(task_id)
    return json_response(Restored(task_id))
