"""What a recorder and the deletion do with rows, for tests that have neither."""

from pipeline.scheduling.task import Outcome
from storage.database import Database
from storage.history import HistoryRepository
from storage.records import TaskRecord
from storage.trash import Trash


async def finish(database: Database, task_id: str, outcome: Outcome) -> bool:
    """Close an open row; False if there is none."""
    async with database.transaction() as connection:
        return await HistoryRepository(database).close_row(connection, task_id, outcome)


async def empty(trash: Trash, now_ms: int) -> list[TaskRecord]:
    """Forget what has expired, and return it."""
    records = await trash.expired(now_ms)
    await trash.forget(records)
    return records


async def delete_range(database: Database, start_ms: int, end_ms: int) -> list[TaskRecord]:
    """Delete the ended tasks of a range for good, and return them."""
    trash = Trash(database)
    deleted = await trash.discard_range(start_ms, end_ms, until_ms=0)
    assert await empty(trash, 0) == sorted(deleted, key=lambda record: record.id)
    return deleted
