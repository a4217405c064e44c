"""The four ways in which a generate request is answered, once its task is in the queue."""

from collections.abc import Mapping
from contextlib import suppress
from functools import partial

from aiohttp import web

from handlers.fooocus.stream import ProgressStream, send, send_progress
from handlers.http.respond import json_response
from handlers.http.sse import sse_response
from handlers.service.decoding import COPIES
from handlers.service.submit import Ticket
from handlers.service.tasks import Tasks
from handlers.service_keys import DECODING, TASKS
from pipeline.images.encode import MIME_TYPES, convert
from storage.records import TaskRecord

Headers = Mapping[str, str]


def answer_async(ticket: Ticket, headers: Headers) -> web.Response:
    """At once, before the task has begun."""
    return json_response(ticket.accepted(), headers=headers)


async def answer_sync(ticket: Ticket, headers: Headers) -> web.Response:
    """The record of the ended task; 500 with it if the task failed."""
    return _record_response(await ticket.end(), headers)


async def answer_binary(request: web.Request, ticket: Ticket, headers: Headers) -> web.Response:
    """The bytes of the task's picture as they are on disk; without a picture, the record."""
    row = await ticket.row()
    if not row.result:
        return _record_response(await ticket.shown(row), headers, without_picture=409)
    data = await request.app[TASKS].read_picture(row.result[0])
    wanted = ticket.task.params.output_format
    if ticket.is_repeat:  # the first request may have asked for another format
        make = partial(convert, data, wanted)
        data = await request.app[DECODING].run(make, data, copies=COPIES, shown=True)
    return web.Response(body=data, content_type=MIME_TYPES[wanted], headers=headers)


async def answer_stream(
    request: web.Request, ticket: Ticket, headers: Headers
) -> web.StreamResponse:
    """An event per change of progress, and one for the end. Ends early when the client leaves.

    A client too slow for its subscription misses steps, and still gets the last event.
    """
    tasks = request.app[TASKS]
    response = sse_response(headers)
    stream = ProgressStream(partial(tasks.position, ticket.task_id))
    with ticket.events() as subscription, suppress(ConnectionError):
        await response.prepare(request)
        if not ticket.is_repeat or await _catch_up(response, tasks, ticket, stream):
            await send_progress(response, subscription, stream)
        await send(response, stream.last(await ticket.end_or_reason()))
        await response.write_eof()
    return response


async def _catch_up(
    response: web.StreamResponse, tasks: Tasks, ticket: Ticket, stream: ProgressStream
) -> bool:
    """Send the state of a task that an earlier request submitted. False if it has ended."""
    if (running := tasks.running(ticket.task_id)) is not None:
        await send(response, stream.resume(running.snapshot))
        return True
    if (event := stream.place()) is not None:
        await send(response, event)
    return tasks.position(ticket.task_id) is not None


def _record_response(
    record: TaskRecord, headers: Headers, without_picture: int = 200
) -> web.Response:
    status = 500 if record.task_status == "failed" else without_picture
    return json_response(record, status=status, headers=headers)
