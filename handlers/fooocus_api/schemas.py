"""Replies of the family: jobs, their queue and history, model names."""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

JobType = Literal[
    "Text to Image",
    "Image Upscale or Variation",
    "Image Inpaint or Outpaint",
    "Image Prompt",
    "Image Enhancement",
    "Not Found",
]
JobStage = Literal["WAITING", "RUNNING", "SUCCESS", "ERROR"]
FinishReason = Literal["SUCCESS", "QUEUE_IS_FULL", "USER_CANCEL", "ERROR"]


class GeneratedImage(msgspec.Struct, frozen=True, kw_only=True):
    """One picture of a job; without one, why there is none."""

    base64: Annotated[str | None, Meta(description="A data URL, where asked for.")] = None
    url: str | None = None
    seed: str = ""
    finish_reason: FinishReason = "SUCCESS"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job as of now."""

    job_id: Annotated[str, Meta(description="The task's id, written with dashes.")]
    job_type: JobType
    job_stage: JobStage
    job_progress: Annotated[int, Meta(description="0-100.")] = 0
    job_status: Annotated[str | None, Meta(description="What is being done, or went wrong.")] = None
    job_step_preview: Annotated[str | None, Meta(description="The newest preview, base64.")] = None
    job_result: list[GeneratedImage] | None = None


class JobQueue(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of jobs."""

    running_size: Annotated[int, Meta(description="Jobs that run or wait.")]
    finished_size: Annotated[int, Meta(description="Ended jobs in the history.")]
    last_job_id: Annotated[str | None, Meta(description="The newest job.")]


class TaskInfo(msgspec.Struct, frozen=True, kw_only=True):
    """An ended job, as Fooocus-API tells it where it keeps a database."""

    task_id: str
    task_type: JobType
    task_in_queue_mills: int
    task_start_mills: int
    task_finish_mills: int
    result_url: Annotated[str, Meta(description="URLs of the pictures, joined by commas.")]
    finish_reason: FinishReason
    date_time: str


class JobInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A job in the lists of the queue and the history."""

    job_id: str
    in_queue_mills: int
    start_mills: int
    finish_mills: int
    is_finished: bool
    params: Mapping[str, object] | UnsetType = UNSET
    task_info: TaskInfo | UnsetType = UNSET


class JobHistory(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs that wait or run, and a page of those that ended, the newest first."""

    queue: list[JobInfo]
    history: list[JobInfo]


class Message(msgspec.Struct, frozen=True):
    """What was done."""

    message: str


class Stopped(msgspec.Struct, frozen=True):
    """The running jobs are being stopped."""

    msg: str = "success"


class ModelNames(msgspec.Struct, frozen=True, kw_only=True):
    """Checkpoints and LoRAs on disk now."""

    model_filenames: list[str]
    lora_filenames: list[str]
