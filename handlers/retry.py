"""POST /tasks/{task_id}/retry: the same request again, as a new task."""

import uuid

import msgspec
from aiohttp import web

from bus.events import now_ms
from handlers.errors import RequestRefused
from handlers.intake import Order
from handlers.keys import ADMISSIONS, HISTORY
from handlers.respond import base_url, json_response
from handlers.task_reply import live_record
from pipeline.errors import InvalidParameter
from pipeline.params import params_from
from pipeline.request import GenerateParams
from pipeline.tasks import Task
from storage.records import TaskRecord, accepted_record


async def retry(request: web.Request) -> web.Response:
    """Queue an ended task's request again, seed and all; answered as an asynchronous request."""
    task_id = request.match_info["task_id"]
    if live_record(request, task_id) is not None:
        raise RequestRefused(409, "not_ended", "the task has not ended yet")
    record = await request.app[HISTORY].get(task_id)
    if record is None:
        raise RequestRefused(404, "not_found", "there is no such task")
    task = Task(
        task_id=uuid.uuid4().hex,
        params=_params_of(record),
        in_queue_mills=now_ms(),
        webhook_url=record.webhook_url,
        base_url=base_url(request),
    )
    await request.app[ADMISSIONS].admit(Order(task=task, ignored=(), key=""))
    return json_response(accepted_record(task), headers={"X-Task-Id": task.task_id})


def _params_of(record: TaskRecord) -> GenerateParams:
    """The stored request. Raises RequestRefused (409) for one that cannot be read any more."""
    try:
        return params_from(record.req_params)
    except (InvalidParameter, msgspec.ValidationError) as error:
        raise RequestRefused(
            409, "unreadable_request", f"the task's request cannot be used any more: {error}"
        ) from None
