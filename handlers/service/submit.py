"""From a generate request to a task whose row is written and which waits in the queue.

A request that is refused leaves nothing behind: every check comes before the row.
"""

import asyncio
import uuid
from typing import Final

import msgspec
from aiohttp import web

from bus.events import now_ms
from handlers.http.body import read_body
from handlers.http.refusal import RequestRefused
from handlers.http.respond import base_url
from handlers.keys import RESOLVER, SETTINGS
from handlers.service.images import NewInput, resolve_images
from pipeline.request.decode import decode_params
from pipeline.request.delivery import Delivery
from pipeline.request.resolved import ResolvedRequest
from pipeline.scheduling.executor import Executor
from pipeline.scheduling.task import Task
from storage.history import HistoryRepository
from storage.inputs import InputStore

IDEMPOTENCY_KEY: Final = "Idempotency-Key"
KEY_LIMIT: Final = 255  # characters


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A request that has passed every check. ``key`` is its Idempotency-Key, or ""."""

    task: Task
    ignored: tuple[str, ...] = ()
    key: str = ""
    images: tuple[NewInput, ...] = ()  # to store once there is room in the queue


async def read_order(request: web.Request, image_format: str | None) -> Order:
    """Read and resolve a request; ``image_format`` is that of an image wanted as the reply.

    Raises what ``handlers.http.errors`` maps to 400, 404, 413, 422, 501 and 503.
    """
    key = idempotency_key(request)
    decoded = decode_params(await read_body(request))
    params = decoded.params
    if image_format is not None:
        params = msgspec.structs.replace(params, image_number=1, output_format=image_format)
    resolve = request.app[RESOLVER].resolve
    resolved = await asyncio.to_thread(resolve, params, decoded.present)
    default_webhook = request.app[SETTINGS].default_webhook
    delivery = msgspec.structs.replace(decoded.delivery, default_webhook=default_webhook)
    order = await make_order(request, resolved, delivery)
    return msgspec.structs.replace(order, ignored=decoded.ignored, key=key)


async def make_order(request: web.Request, resolved: ResolvedRequest, delivery: Delivery) -> Order:
    """A new task of a resolved request, its input images read.

    Raises what ``resolve_images`` does.
    """
    images = await resolve_images(request, resolved.params)
    task = Task(
        task_id=uuid.uuid4().hex,
        request=msgspec.structs.replace(resolved, params=images.params),
        in_queue_mills=now_ms(),
        delivery=msgspec.structs.replace(delivery, base_url=base_url(request)),
    )
    return Order(task=task, images=images.images)


class Admissions:
    """Brings orders into history and queue. Owned by the event loop."""

    def __init__(self, history: HistoryRepository, executor: Executor, inputs: InputStore) -> None:
        self._history = history
        self._executor = executor
        self._inputs = inputs
        self._open: dict[str, asyncio.Task[str]] = {}

    @property
    def is_idle(self) -> bool:
        """Is no admission under way?"""
        return not self._open

    async def admit(self, order: Order) -> str:
        """Pictures and row first, then the queue. Returns the task's id.

        Raises QueueFull, ServerStopping, SavingFailed.

        An order whose key was seen before brings nothing in: the id is that of the first one's
        task. Goes on when the caller is cancelled, since a row without its place in the queue
        would wait until the next start.
        """
        name = order.key or order.task.task_id
        admission = self._open.get(name)
        if admission is None:
            admission = self._open[name] = asyncio.create_task(self._admit(order))
            admission.add_done_callback(lambda done: self._close(name, done))
        return await asyncio.shield(admission)

    async def _admit(self, order: Order) -> str:
        if order.key:
            first = await self._history.task_of_key(order.key)
            if first is not None:
                return first
        with self._executor.reserve():
            for image in order.images:
                await asyncio.to_thread(self._inputs.store, image.data, image.extension)
            admitted = await self._history.add_queued(order.task, order.key)
            self._executor.submit(order.task, admitted.row_id)
        return admitted.task_id

    def _close(self, name: str, admission: asyncio.Task[str]) -> None:
        del self._open[name]
        if not admission.cancelled():
            admission.exception()  # the caller may be gone, and asyncio would complain


def idempotency_key(request: web.Request) -> str:
    """What the header says, or "". Raises RequestRefused (400) for no text or too much of it."""
    key = request.headers.get(IDEMPOTENCY_KEY, "")
    if len(key) > KEY_LIMIT:
        detail = f"{IDEMPOTENCY_KEY} may have at most {KEY_LIMIT} characters"
        raise RequestRefused(400, "invalid_header", detail)
    if not key.isprintable():  # bytes that are no UTF-8 among them: no database takes those
        raise RequestRefused(400, "invalid_header", f"{IDEMPOTENCY_KEY} must be printable text")
    return key
