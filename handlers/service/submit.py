"""From a generate request to a task whose row is written and which waits in the queue.

A request that is refused leaves nothing behind: every check comes before the row.
"""

import asyncio
import secrets
import uuid
from typing import Final

import msgspec
from aiohttp import web

from bus.events import now_ms
from handlers.http.body import read_body
from handlers.http.errors import RequestRefused
from handlers.http.respond import base_url
from handlers.keys import MODEL_FILES, PRESETS, SETTINGS, STYLES
from handlers.service.images import NewInput, resolve_images
from pipeline.files.auxiliary import check_parts
from pipeline.files.resolve import settle_models
from pipeline.request.choices import NO_MODEL
from pipeline.request.decode import decode_params
from pipeline.request.images import check_images
from pipeline.request.schema import GenerateParams
from pipeline.scheduling.executor import Executor
from pipeline.scheduling.task import RANDOM_SEED_LIMIT, Task
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
    """Read and check a request; ``image_format`` is that of the picture it wants as its answer.

    Raises what ``handlers.http.errors`` maps to 400, 404, 413, 422, 501 and 503.
    """
    key = idempotency_key(request)
    decoded = decode_params(await read_body(request))
    params = await asyncio.to_thread(_complete, request.app, decoded.params, decoded.present)
    if image_format is not None:
        params = msgspec.structs.replace(params, image_number=1, output_format=image_format)
    webhook_url = params.webhook_url or request.app[SETTINGS].default_webhook
    order = await make_order(request, params, webhook_url)
    return msgspec.structs.replace(order, ignored=decoded.ignored, key=key)


async def make_order(request: web.Request, params: GenerateParams, webhook_url: str) -> Order:
    """A new task of checked parameters: its seed drawn, its pictures read.

    Raises what ``resolve_images`` does.
    """
    if params.image_seed < 0:
        params = msgspec.structs.replace(params, image_seed=secrets.randbelow(RANDOM_SEED_LIMIT))
    resolved = await resolve_images(request, params)
    task = Task(
        task_id=uuid.uuid4().hex,
        params=resolved.params,
        in_queue_mills=now_ms(),
        webhook_url=webhook_url,
        base_url=base_url(request),
    )
    return Order(task=task, images=resolved.images)


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


def _complete(
    app: web.Application, params: GenerateParams, present: frozenset[str]
) -> GenerateParams:
    """Fill in what the request left out and check every name. Reads files: not on the loop."""
    presets = app[PRESETS]
    preset = presets.load(params.preset)
    if params.base_model_name in ("", NO_MODEL):
        present -= {"base_model_name"}
    params = presets.apply(params, present, preset)
    params = settle_models(params, present, presets, app[MODEL_FILES])
    app[STYLES].check(params.style_selections)
    check_images(params)
    check_parts(params, app[MODEL_FILES])
    return params
