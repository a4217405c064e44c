"""POST /tasks/{task_id}/retry: the same request again, as a new task."""

import msgspec
from aiohttp import web

from handlers.http.idempotency import idempotency_key
from handlers.http.operation import Operation, Payload
from handlers.http.respond import delivery_to, json_response, own_urls
from handlers.service.images import RequestImages
from handlers.service.submit import stored_request
from handlers.service_keys import SUBMISSIONS, TASKS
from storage.records import TaskRecord


@Operation(
    name="retry_task",
    tag="tasks",
    summary="Queue an ended task's request again, seed and all, as a new task",
    headers={"Idempotency-Key": "A repeat with the same key joins the first one's task."},
    reply=Payload(type=TaskRecord),
    errors=(400, 401, 403, 404, 409, 413, 415, 422, 429, 503, 507),
)
async def retry(request: web.Request) -> web.Response:
    """Queue an ended task's request again, with its seed; answered as an asynchronous request.

    Model files and input images are checked before queueing, so a missing one is reported at once.
    """
    key = idempotency_key(request)
    record = await request.app[TASKS].find_ended(request.match_info["task_id"])
    decoded = stored_request(record.req_params)
    delivery = msgspec.structs.replace(
        delivery_to(request, decoded.delivery), default_webhook=record.webhook_url
    )
    images = RequestImages(own_urls=own_urls(request))
    ticket = await request.app[SUBMISSIONS].submit(decoded, images, delivery, key)
    return json_response(ticket.accepted(), headers={"X-Task-Id": ticket.task_id})
