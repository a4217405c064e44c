"""What several families tell of a task's record: its id with dashes, the seeds of its pictures."""

from uuid import UUID

from pipeline.request.plan import seed_after
from storage.records import TaskRecord


def dashed_id(task_id: str) -> str:
    """A task's id as other servers write ids: with dashes."""
    try:
        return str(UUID(task_id))
    except ValueError:  # of a database that another program wrote
        return task_id


def plain_id(text: str) -> str:
    """The id of a task, from either way of writing it."""
    try:
        return UUID(text).hex
    except ValueError:
        return text


def picture_seed(record: TaskRecord, index: int) -> int | None:
    """The seed of one of a task's pictures, counted from 0; None where the request has none."""
    seed = record.req_params.get("image_seed")
    if not isinstance(seed, int):
        return None
    return seed if record.req_params.get("disable_seed_increment") else seed_after(seed, index)
