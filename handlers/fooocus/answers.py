"""The four ways in which a generate request is answered, once its task is in the queue."""

import asyncio
from functools import partial

import msgspec
from aiohttp import web

from bus.subscription import Subscription
from handlers.fooocus.stream import ProgressStream, StreamEvent, send, send_progress
from handlers.http.body import ignored_headers
from handlers.http.refusal import RequestRefused
from handlers.http.respond import json_response
from handlers.http.sse import sse_response
from handlers.keys import EXECUTOR
from handlers.service.submit import Order
from handlers.service.tasks import end_of, read_picture, with_results
from pipeline.errors import ServerStopping
from pipeline.images.encode import MIME_TYPES, convert
from pipeline.scheduling.task import Task
from storage.records import TaskRecord, accepted_record


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What every way of answering needs to know.

    ``task`` is that of this request; ``task_id`` may be of an earlier one, which this repeats.
    """

    request: web.Request
    task: Task
    task_id: str
    headers: dict[str, str]

    @classmethod
    def to(cls, request: web.Request, order: Order, task_id: str) -> "Answer":
        """The answer that this request expects, now that ``task_id`` is in the queue."""
        headers = {"X-Task-Id": task_id, **ignored_headers(request, order.ignored)}
        return cls(request=request, task=order.task, task_id=task_id, headers=headers)

    @property
    def is_repeat(self) -> bool:
        """Does this answer for a task that another request made?"""
        return self.task_id != self.task.task_id

    async def end(self) -> TaskRecord:
        """The task's record once it has ended, results in the form asked for."""
        record = await end_of(self.request, self.task_id)
        if record is None:
            raise RequestRefused(404, "not_found", "the task was deleted before it was answered")
        return record

    async def whole(self, record: TaskRecord) -> TaskRecord:
        """The record with results in the form asked for."""
        as_base64 = self.task.delivery.require_base64
        return await with_results(self.request, record, as_base64=as_base64)


def answer_async(answer: Answer) -> web.Response:
    """At once, before the task has begun."""
    task = msgspec.structs.replace(answer.task, task_id=answer.task_id)
    return json_response(accepted_record(task), headers=answer.headers)


async def answer_sync(answer: Answer) -> web.Response:
    """The record of the ended task; 500 with it if the task failed."""
    return await _record_response(answer, await answer.end())


async def answer_binary(answer: Answer) -> web.Response:
    """The bytes of the task's picture as they are on disk; without a picture, the record."""
    record = await answer.end()
    if not record.result:
        return await _record_response(answer, record, without_picture=409)
    data = await read_picture(answer.request, record.result[0])
    if data is None:
        raise RequestRefused(404, "not_found", "the picture was deleted before it was answered")
    wanted = answer.task.params.output_format
    if answer.is_repeat:  # the first request may have asked for another format
        data = await asyncio.to_thread(convert, data, wanted)
    return web.Response(body=data, content_type=MIME_TYPES[wanted], headers=answer.headers)


async def answer_stream(answer: Answer, news: Subscription) -> web.StreamResponse:
    """An event a progress change, and one for the end. Ends early when the client leaves.

    A client too slow for its mailbox misses steps, and still gets the last event.
    """
    response = sse_response(answer.headers)
    await response.prepare(answer.request)
    stream = ProgressStream(partial(answer.request.app[EXECUTOR].position, answer.task_id))
    try:
        if not answer.is_repeat or await _catch_up(answer, response, stream):
            await send_progress(response, news, stream)
        await send(response, await _last_event(answer, stream))
        await response.write_eof()
    except ConnectionError:
        pass  # the client has left; its task goes on
    return response


async def _catch_up(answer: Answer, response: web.StreamResponse, stream: ProgressStream) -> bool:
    """Tell a stream that joins a task how it stands. False if it has ended."""
    executor = answer.request.app[EXECUTOR]
    if executor.position(answer.task_id) is not None:
        if (event := stream.place()) is not None:
            await send(response, event)
        return True
    for running in executor.running():
        if running.task.task_id == answer.task_id:
            await send(response, stream.resume(running.snapshot))
            return True
    return False


async def _last_event(answer: Answer, stream: ProgressStream) -> StreamEvent:
    try:
        record = await answer.whole(await answer.end())
    except (ServerStopping, RequestRefused) as reason:
        return stream.last(str(reason), error=str(reason))
    images = tuple(record.result or ())
    match record.task_status:
        case "finished":
            return stream.last("Finished", images)
        case "stop":
            return stream.last("Stopped", images, error="stopped by the user")
        case "skip":
            return stream.last("Skipped", images, error="skipped by the user")
        case _:
            return stream.last("Failed", images, error=record.error or "the task failed")


async def _record_response(
    answer: Answer, record: TaskRecord, without_picture: int = 200
) -> web.Response:
    status = 500 if record.task_status == "failed" else without_picture
    return json_response(await answer.whole(record), status=status, headers=answer.headers)
