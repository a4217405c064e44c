"""From a task's record to the family's replies: generated images, jobs, lists of jobs."""

from datetime import UTC, datetime
from typing import Final

from msgspec import UNSET

from handlers.fooocus_api.params import job_type
from handlers.fooocus_api.schemas import (
    FinishReason,
    GeneratedImage,
    Job,
    JobInfo,
    JobStage,
    JobType,
    TaskInfo,
)
from handlers.service.records import dashed_id, picture_seed
from handlers.service.tasks import Tasks
from storage.records import TaskRecord, absolute_url

_STAGES: Final[dict[str | None, JobStage]] = {
    None: "WAITING",
    "pending": "WAITING",
    "running": "RUNNING",
    "finished": "SUCCESS",
    "skip": "SUCCESS",
    "stop": "SUCCESS",
    "failed": "ERROR",
}
_REASONS: Final[dict[str | None, FinishReason]] = {"stop": "USER_CANCEL", "failed": "ERROR"}
_WORDS: Final = {"finished": "Finished", "skip": "Skipped", "stop": "Stopped", "failed": "Failed"}
NOT_FOUND: Final = Job(
    job_id="", job_type="Not Found", job_stage="ERROR", job_status="Job not found"
)


async def images_of(
    tasks: Tasks, row: TaskRecord, base_url: str, *, as_base64: bool = False
) -> list[GeneratedImage]:
    """The pictures of an ended task; without any, one entry that says why.

    ``row`` has its results as paths on this server.
    """
    reason = _REASONS.get(row.task_status, "SUCCESS")
    paths = row.result or []
    if not paths:
        return [GeneratedImage(finish_reason="ERROR" if reason == "SUCCESS" else reason)]
    shown = (await tasks.shown(row, base_url, as_base64=True)).result if as_base64 else None
    return [
        GeneratedImage(
            base64=shown[i] if shown else None,
            url=absolute_url(path, base_url),
            seed=seed_text(row, i),
            finish_reason=reason,
        )
        for i, path in enumerate(paths)
    ]


def seed_text(row: TaskRecord, index: int) -> str:
    """The seed of one of a task's pictures, counted from 0; "" where the request does not tell."""
    seed = picture_seed(row, index)
    return "" if seed is None else str(seed)


async def job_of(tasks: Tasks, row: TaskRecord, base_url: str, *, with_preview: bool) -> Job:
    """A task as of now. ``row`` has its results as paths on this server."""
    stage = _STAGES.get(row.task_status, "ERROR")
    preview = row.preview if with_preview and row.preview is not UNSET else ""
    has_ended = row.task_status in _WORDS
    as_base64 = row.wants_base64
    return Job(
        job_id=dashed_id(row.task_id),
        job_type=job_type(row.req_params),
        job_stage=stage,
        job_progress=100 if stage == "SUCCESS" else max(0, int(row.progress or 0)),
        job_status=_status(tasks, row),
        job_step_preview=preview.partition(",")[2] or None,
        job_result=await images_of(tasks, row, base_url, as_base64=as_base64)
        if has_ended
        else None,
    )


def accepted_job(task_id: str, kind: JobType) -> Job:
    """A job that has just been queued."""
    return Job(job_id=dashed_id(task_id), job_type=kind, job_stage="WAITING")


def refused_job(kind: JobType) -> Job:
    """A job for which the queue has no room."""
    return Job(job_id="", job_type=kind, job_stage="ERROR", job_status="QUEUE_IS_FULL")


def info_of(row: TaskRecord, base_url: str) -> JobInfo:
    """A task in a list; an ended one with its request and what Fooocus-API stores of it."""
    has_ended = row.task_status in _WORDS
    return JobInfo(
        job_id=dashed_id(row.task_id),
        in_queue_mills=row.in_queue_mills or 0,
        start_mills=max(0, row.start_mills or 0),
        finish_mills=max(0, row.finish_mills or 0),
        is_finished=has_ended,
        params=row.req_params if has_ended else UNSET,
        task_info=_stored(row, base_url) if has_ended else UNSET,
    )


def _status(tasks: Tasks, row: TaskRecord) -> str | None:
    if (running := tasks.running(row.task_id)) is not None:
        return running.snapshot.message
    if row.error is not UNSET:
        return row.error
    return _WORDS.get(row.task_status or "")


def _stored(row: TaskRecord, base_url: str) -> TaskInfo:
    finished = row.finish_mills or 0
    return TaskInfo(
        task_id=dashed_id(row.task_id),
        task_type=job_type(row.req_params),
        task_in_queue_mills=row.in_queue_mills or 0,
        task_start_mills=max(0, row.start_mills or 0),
        task_finish_mills=max(0, finished),
        result_url=",".join(absolute_url(path, base_url) for path in row.result or ()),
        finish_reason=_REASONS.get(row.task_status, "SUCCESS"),
        date_time=datetime.fromtimestamp(finished / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S"),
    )
