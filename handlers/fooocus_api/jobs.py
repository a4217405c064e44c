"""Jobs: one of them, counts, lists, and stopping what runs."""

from typing import Annotated, Final

import msgspec
from aiohttp import web
from msgspec import Meta

from handlers.fooocus_api.describe import ERROR_REPLIES, describe
from handlers.fooocus_api.replies import NOT_FOUND, info_of, job_of
from handlers.fooocus_api.schemas import Job, JobHistory, JobQueue, Message, Stopped
from handlers.http.operation import Payload
from handlers.http.respond import base_url, json_response
from handlers.http.same_site import check_change
from handlers.keys import EXECUTOR, HISTORY
from handlers.service.errors import NotFound
from handlers.service.records import dashed_id, plain_id
from handlers.service_keys import DELETION, TASKS
from pipeline.scheduling.task import Task
from storage.records import TaskRecord

PENDING_LIMIT: Final = 1000  # jobs in the list of the queue


class JobQuery(msgspec.Struct, kw_only=True):
    """The query of one job."""

    job_id: Annotated[str, Meta(description="As a generation endpoint told it.")]
    require_step_preview: Annotated[bool, Meta(description="With the newest preview.")] = False


class JobHistoryQuery(msgspec.Struct, kw_only=True):
    """The query of the job history."""

    job_id: Annotated[str, Meta(description="This job alone.")] = ""
    page: Annotated[int, Meta(ge=0, le=10**9, description="From 0.")] = 0
    page_size: Annotated[int, Meta(ge=1, le=1000, description="Ended jobs a page.")] = 20
    delete: Annotated[bool, Meta(description="Delete the job and its pictures.")] = False


@describe(
    name="fooocus_api_query_job",
    summary="A job: waiting, running or ended",
    reply=Payload(type=Job),
    errors=(403, 404, 422, 503),
    error_replies={**ERROR_REPLIES, 404: Job},
)
async def query_job(request: web.Request, query: JobQuery) -> web.Response:
    """One job. An unknown one is a job as well, with status 404."""
    tasks = request.app[TASKS]
    try:
        row = await tasks.find(plain_id(query.job_id))
    except NotFound:
        missing = msgspec.structs.replace(NOT_FOUND, job_id=query.job_id)
        return json_response(missing, status=404)
    with_preview = query.require_step_preview
    job = await job_of(tasks, row, base_url(request), with_preview=with_preview)
    return json_response(job)


@describe(
    name="fooocus_api_job_queue",
    summary="How many jobs run, wait and have ended",
    reply=Payload(type=JobQueue),
    errors=(403, 503),
)
async def job_queue(request: web.Request) -> web.Response:
    """Counts, and the newest job."""
    executor, history = request.app[EXECUTOR], request.app[HISTORY]
    alive = [running.task for running in executor.running()]
    alive += [entry.task for entry in executor.waiting()]
    newest: Task | TaskRecord | None
    newest = max(reversed(alive), key=lambda task: task.in_queue_mills, default=None)
    if newest is None:
        newest = next(iter(await history.page(page_size=1)), None)
    counts = JobQueue(
        running_size=len(alive),
        finished_size=await history.count(),
        last_job_id=dashed_id(newest.task_id) if newest else None,
    )
    return json_response(counts)


@describe(
    name="fooocus_api_job_history",
    summary="Jobs that wait or run, and those that ended; deletes one",
    description="With `delete` the answer is a `message`: Deleted, or Not found.",
    reply=Payload(type=JobHistory),
    errors=(403, 409, 422, 503),
)
async def job_history(request: web.Request, query: JobHistoryQuery) -> web.Response:
    """The queue and a page of the history, or one job of either."""
    if query.delete:
        return json_response(await _delete(request, plain_id(query.job_id)))
    base = base_url(request)
    if query.job_id:
        queue, history = await _one(request, plain_id(query.job_id))
    else:
        queue = _alive(request)
        history = await request.app[HISTORY].page(page=query.page, page_size=query.page_size)
    reply = JobHistory(
        queue=[info_of(row, base) for row in queue],
        history=[info_of(row, base) for row in history],
    )
    return json_response(reply)


@describe(
    name="fooocus_api_stop",
    summary="Stop what runs",
    reply=Payload(type=Stopped),
    errors=(403, 503),
)
async def stop(request: web.Request) -> web.Response:
    """End the running jobs; waiting ones stay."""
    await request.app[TASKS].stop_running()
    return json_response(Stopped())


def _alive(request: web.Request) -> list[TaskRecord]:
    tasks = request.app[TASKS]
    return [*tasks.current(), *tasks.pending(0, PENDING_LIMIT)]


async def _one(request: web.Request, task_id: str) -> tuple[list[TaskRecord], list[TaskRecord]]:
    """One job in the list that it belongs to; two empty lists for an unknown one."""
    tasks = request.app[TASKS]
    if (alive := tasks.live(task_id)) is not None:
        return [alive], []
    row = await request.app[HISTORY].get(task_id)
    return [], [row] if row is not None else []


async def _delete(request: web.Request, task_id: str) -> Message:
    """Delete an ended job. Raises RequestRefused for another site's page, TaskNotEnded."""
    check_change(request)
    request.app[TASKS].check_not_live(task_id)
    try:
        await request.app[DELETION].delete(task_id)
    except NotFound:
        return Message("Not found")
    return Message("Deleted")
