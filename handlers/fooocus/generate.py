"""POST /v1/engine/generate/: one endpoint, four ways of answering."""

from contextlib import ExitStack

from aiohttp import web

from handlers.fooocus.answers import Answer, answer_async, answer_binary, answer_stream, answer_sync
from handlers.fooocus.stream import followed
from handlers.http.negotiation import wanted_image_format
from handlers.keys import BUS
from handlers.service.submit import Order, read_order
from handlers.service_keys import ADMISSIONS


async def generate(request: web.Request) -> web.StreamResponse:
    """Queue a task and answer in the way asked for: picture, stream, at once, or at the end.

    A client that goes away does not stop its task.
    """
    image_format = wanted_image_format(request.headers.getall("Accept", []))
    order = await read_order(request, image_format)
    delivery = order.task.delivery
    if image_format is None and delivery.stream_output:
        return await _stream(request, order)
    answer = Answer.to(request, order, await request.app[ADMISSIONS].admit(order))
    if image_format is not None:
        return await answer_binary(answer)
    if delivery.async_process:
        return answer_async(answer)
    return await answer_sync(answer)


async def _stream(request: web.Request, order: Order) -> web.StreamResponse:
    """Listen first, then queue: the task may begin and end at once."""
    bus = request.app[BUS]
    with ExitStack() as stack:
        news = stack.enter_context(bus.subscribe(followed(order.task.task_id)))
        answer = Answer.to(request, order, await request.app[ADMISSIONS].admit(order))
        if answer.is_repeat:
            news = stack.enter_context(bus.subscribe(followed(answer.task_id)))
        return await answer_stream(answer, news)
