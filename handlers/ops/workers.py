"""/v1/workers: what makes the pictures, and its draining before maintenance."""

import msgspec
from aiohttp import web

from handlers.http.operation import Operation, Payload
from handlers.http.respond import json_response
from handlers.keys import EXECUTOR
from handlers.service.errors import NotFound
from pipeline.scheduling.executor import Executor
from pipeline.scheduling.worker import WorkerInfo


class WorkersView(msgspec.Struct, frozen=True, kw_only=True):
    """All workers; those of a cluster come and go."""

    workers: tuple[WorkerInfo, ...]


@Operation(
    name="workers",
    tag="server",
    summary="What makes the pictures: node, device, memory, loaded models, pictures, failures",
    reply=Payload(type=WorkersView),
)
async def list_workers(request: web.Request) -> web.Response:
    """Every worker."""
    return _response(request.app[EXECUTOR])


@Operation(
    name="drain_worker",
    tag="server",
    summary="Let a worker take no more tasks; what it makes it ends",
    description="Until it is resumed or the server starts again.",
    reply=Payload(type=WorkersView),
    errors=(401, 403, 404),
)
async def drain(request: web.Request) -> web.Response:
    """Give a worker no more tasks. Idempotent."""
    return _change(request, is_draining=True)


@Operation(
    name="resume_worker",
    tag="server",
    summary="Let a drained worker take tasks again",
    reply=Payload(type=WorkersView),
    errors=(401, 403, 404),
)
async def resume_worker(request: web.Request) -> web.Response:
    """Give a worker tasks again. Idempotent."""
    return _change(request, is_draining=False)


def _change(request: web.Request, *, is_draining: bool) -> web.Response:
    name = request.match_info["worker_id"]
    if not request.app[EXECUTOR].drain(name, is_draining=is_draining):
        raise NotFound(f"there is no worker {name}")
    return _response(request.app[EXECUTOR])


def _response(executor: Executor) -> web.Response:
    view = WorkersView(workers=executor.workers())
    return json_response(view, headers={"Cache-Control": "no-store"})
