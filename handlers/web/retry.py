"""POST /tasks/{task_id}/retry: the same request again, as a new task."""

import asyncio

import msgspec
from aiohttp import web

from handlers.http.operation import Operation, Payload
from handlers.http.refusal import RequestRefused
from handlers.http.respond import json_response
from handlers.keys import HISTORY, RESOLVER
from handlers.service.submit import idempotency_key, make_order
from handlers.service.tasks import live_record
from handlers.service_keys import ADMISSIONS
from pipeline.errors import InvalidParameter
from pipeline.request.decode import request_from
from pipeline.request.delivery import Delivery, GenerateRequest
from storage.records import TaskRecord, accepted_record


@Operation(
    name="retry_task",
    tag="tasks",
    summary="Queue an ended task's request again, seed and all, as a new task",
    headers={"Idempotency-Key": "A repeat with the same key joins the first one's task."},
    reply=Payload(type=TaskRecord),
    errors=(400, 401, 403, 404, 409, 413, 415, 422, 429, 503),
)
async def retry(request: web.Request) -> web.Response:
    """Queue an ended task's request again, with its seed; answered as an asynchronous request.

    Model files and input images are checked before queueing, so a missing one is reported at once.
    """
    key = idempotency_key(request)
    task_id = request.match_info["task_id"]
    if live_record(request, task_id) is not None:
        raise RequestRefused(409, "not_ended", "the task has not ended yet")
    record = await request.app[HISTORY].get(task_id)
    if record is None:
        raise RequestRefused(404, "not_found", "there is no such task")
    stored = _request_of(record)
    present = frozenset(record.req_params)
    resolved = await asyncio.to_thread(request.app[RESOLVER].resolve, stored.params, present)
    delivery = msgspec.structs.replace(Delivery.of(stored), default_webhook=record.webhook_url)
    order = await make_order(request, resolved, delivery)
    new_id = await request.app[ADMISSIONS].admit(msgspec.structs.replace(order, key=key))
    task = msgspec.structs.replace(order.task, task_id=new_id)
    return json_response(accepted_record(task), headers={"X-Task-Id": new_id})


def _request_of(record: TaskRecord) -> GenerateRequest:
    """The stored request. Raises RequestRefused (409) for one that cannot be read any more."""
    try:
        return request_from(record.req_params)
    except (InvalidParameter, msgspec.ValidationError) as error:
        raise RequestRefused(
            409, "unreadable_request", f"the task's request cannot be used any more: {error}"
        ) from None
