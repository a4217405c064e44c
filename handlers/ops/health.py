"""GET /health: is the server alive, and can it make pictures?"""

import time
from typing import Annotated, Literal

import msgspec
from aiohttp import web
from msgspec import Meta

from handlers.http.errors import RETRY_SECONDS
from handlers.http.operation import Operation, Payload
from handlers.http.respond import json_response
from handlers.keys import EXECUTOR, SETTINGS, STATE
from handlers.service_keys import WATCH
from pipeline.scheduling.worker import DeviceState, overall_state

Status = Literal["starting", "ready", "degraded", "stopping"]


class HealthQuery(msgspec.Struct, kw_only=True):
    """The query of the health check."""

    ready: Annotated[bool, Meta(description="1: 503 until pictures can be made.")] = False


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How the server is. ``preset``: the start preset.

    ``ready``: a device can make pictures, and they can be kept.
    """

    status: Status
    ready: bool
    detail: str
    version: str
    preset: str
    devices: tuple[DeviceState, ...]
    pending: int
    running: int
    uptime_seconds: float


@Operation(
    name="health",
    tag="server",
    summary="Is the server alive, and can it make pictures?",
    reply=Payload(type=Health),
    errors=(403, 422, 503),
    is_open=True,
)
async def health(request: web.Request, query: HealthQuery) -> web.Response:
    """200 while the server answers at all; with ``?ready=1``, 503 until it can make pictures."""
    report = describe_health(request.app)
    if query.ready and not report.ready:
        return json_response(report, status=503, headers={"Retry-After": str(RETRY_SECONDS)})
    return json_response(report, headers={"Cache-Control": "no-store"})


def describe_health(app: web.Application) -> Health:
    """Put together what the devices, the queue and the server's own state say."""
    executor, state, problem = app[EXECUTOR], app[STATE], app[WATCH].problem
    devices = executor.devices()
    status: Status = "stopping" if state.stopping else overall_state(devices)
    if problem is not None and status == "ready":
        status = "degraded"
    faults = (str(problem or ""), *(device.error for device in devices))
    return Health(
        status=status,
        ready=not state.stopping
        and problem is None
        and any(device.state == "ready" for device in devices),
        detail=next(filter(None, faults), ""),
        version=app[SETTINGS].version,
        preset=app[SETTINGS].start_preset,
        devices=devices,
        pending=executor.waiting_count,
        running=len(executor.running()),
        uptime_seconds=round(time.monotonic() - state.started, 3),
    )
