"""What the family's webhooks say of an ended job."""

import msgspec

from handlers.fooocus_api.replies import seed_text
from handlers.service.records import dashed_id
from storage.records import TaskRecord


class JobImage(msgspec.Struct, frozen=True):
    """A picture of the job."""

    url: str
    seed: str


class JobEnded(msgspec.Struct, frozen=True):
    """Body of a webhook: the pictures, of which a failed job has none."""

    job_id: str
    job_result: list[JobImage]


def ended_job(record: TaskRecord) -> JobEnded:
    """An ended task, whose results are whole URLs."""
    images = [JobImage(url, seed_text(record, i)) for i, url in enumerate(record.result or ())]
    return JobEnded(dashed_id(record.task_id), images)
