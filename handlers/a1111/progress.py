"""progress, interrupt and skip: the running task of this API, and an end to it."""

import time
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from handlers.a1111.describe import FAMILY, describe
from handlers.a1111.generate import Nothing
from handlers.a1111.reply import timestamp
from handlers.http.access import KEY_NAME
from handlers.http.operation import Payload
from handlers.http.respond import json_response
from handlers.keys import EXECUTOR
from handlers.service_keys import TASKS
from pipeline.scheduling.progress import RunningTask


class ProgressQuery(msgspec.Struct, kw_only=True):
    """The query of progress."""

    skip_current_image: Annotated[bool, Meta(description="1: without the preview.")] = False


class JobState(msgspec.Struct, frozen=True, kw_only=True):
    """The running task. ``job_count`` are pictures, or tasks that wait while none runs."""

    skipped: bool = False
    interrupted: bool = False
    stopping_generation: bool = False
    job: str = ""
    job_count: int = 0
    job_timestamp: str = "0"
    job_no: int = 0
    sampling_step: int = 0
    sampling_steps: int = 0


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far the running task is, 0-1, and its newest preview in base64."""

    progress: float
    eta_relative: Annotated[float, Meta(description="Seconds left; 0 where it is not known.")]
    state: JobState
    current_image: str | None = None
    textinfo: str | None = None


@describe(
    name="a1111_progress",
    summary="How far the running task is",
    description="Of whatever API it is: a device makes one task at a time.",
    reply=Payload(type=Progress),
    errors=(401, 403, 422),
)
async def progress(request: web.Request, query: ProgressQuery) -> web.Response:
    """The first of the running tasks; zeros while nothing runs or waits."""
    executor = request.app[EXECUTOR]
    running = executor.running()
    if not running:
        idle = JobState(job_count=executor.waiting_count)
        return json_response(Progress(progress=0, eta_relative=0, state=idle))
    return json_response(_progress_of(running[0], with_image=not query.skip_current_image))


def _progress_of(running: RunningTask, *, with_image: bool) -> Progress:
    snapshot = running.snapshot
    share = snapshot.progress / 100
    seconds = max(0.0, time.time() - running.started_mills / 1000)
    preview = snapshot.preview.partition(";base64,")[2] if with_image else ""
    return Progress(
        progress=share,
        eta_relative=seconds / share - seconds if share else 0,
        state=JobState(
            interrupted=running.stop_requested,
            job=running.task.task_id,
            job_count=running.task.params.image_number,
            job_timestamp=timestamp(running.started_mills),
            job_no=max(0, snapshot.image - 1),
            sampling_step=snapshot.step,
            sampling_steps=snapshot.steps,
        ),
        current_image=preview or None,
        textinfo=snapshot.message,
    )


@describe(
    name="a1111_interrupt",
    summary="End the running tasks of this API",
    description="Those that came by this API with the same API key; its clients send this when"
    " they close. Another's: POST /v1/engine/control.",
    reply=Payload(type=Nothing),
    errors=(401, 403),
)
async def interrupt(request: web.Request) -> web.Response:
    """Stop what runs; the pictures made so far are the answer to its request. Idempotent."""
    for task_id in _own(request):
        await request.app[TASKS].stop(task_id)
    return json_response(Nothing())


@describe(
    name="a1111_skip",
    summary="End the picture being made of the running tasks of this API",
    reply=Payload(type=Nothing),
    errors=(401, 403),
)
async def skip(request: web.Request) -> web.Response:
    """Go on with the task's next picture. Idempotent."""
    for task_id in _own(request):
        request.app[TASKS].skip(task_id)
    return json_response(Nothing())


def _own(request: web.Request) -> list[str]:
    """The running tasks that this client's API and key have made."""
    key = request.get(KEY_NAME, "")
    deliveries = (
        (each.task.task_id, each.task.delivery) for each in request.app[EXECUTOR].running()
    )
    return [task_id for task_id, sent in deliveries if (sent.family, sent.key) == (FAMILY, key)]
