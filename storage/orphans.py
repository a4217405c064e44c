"""Removes the pictures that a crash left between their saving and the end of their task's row."""

import asyncio
import logging

from storage.history import HistoryRepository
from storage.outputs import OutputStore
from storage.trash import Trash

log = logging.getLogger(__name__)


async def remove_orphans(history: HistoryRepository, trash: Trash, outputs: OutputStore) -> int:
    """Remove saved pictures that no row names, which a next run makes again; how many.

    For the start, once ends that were not in the database are known. Never touches a file that
    this server did not write. Raises SavingFailed.
    """
    removed = 0
    for task_id in await asyncio.to_thread(outputs.unsettled):
        record = await history.get(task_id)
        named = await trash.result_of(task_id) if record is None else record.result or []
        removed += await asyncio.to_thread(outputs.settle, task_id, named)
    if removed:
        log.info("%d pictures that no task names were removed", removed)
    return removed
