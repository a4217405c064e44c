"""Deletes ended tasks: single ones restorably, ranges, and those beyond the limits."""

import asyncio
import itertools
import logging
from typing import Final

from bus.bus import EventBus
from bus.events import HistoryDeleted, HistoryRestored, now_ms
from handlers.service.errors import NotFound, TaskNotEnded
from storage.history import HistoryRepository
from storage.limits import Limits
from storage.outputs import OutputStore
from storage.records import TaskRecord
from storage.retention import Retention
from storage.trash import Trash

log = logging.getLogger(__name__)

UNDO_SECONDS: Final = 60
CHECK_SECONDS: Final = 10.0
CHECKS_PER_TIDY: Final = 30


class Deletion:
    """Removes rows and picture files and publishes which tasks are gone. Event loop only."""

    def __init__(
        self,
        bus: EventBus,
        history: HistoryRepository,
        trash: Trash,
        retention: Retention,
        outputs: OutputStore,
    ) -> None:
        self._bus = bus
        self._history = history
        self._trash = trash
        self._retention = retention
        self._outputs = outputs

    async def delete(self, task_id: str) -> int:
        """Move an ended task to the trash; the Unix time in ms until which it can be restored.

        Completes when the caller is cancelled. Raises NotFound.
        """
        until_ms = now_ms() + UNDO_SECONDS * 1000
        if not await asyncio.shield(self._trash.discard(task_id, until_ms)):
            if await self._history.get(task_id) is not None:
                raise TaskNotEnded("the task's end is not in the database yet; try again later")
            raise NotFound("there is no such task")
        self._bus.publish(HistoryDeleted(task_ids=(task_id,)))
        return until_ms

    async def restore(self, task_id: str) -> None:
        """Take a deletion back; no change for a task that is in the history. Raises NotFound."""
        if await asyncio.shield(self._trash.restore(task_id)):
            self._bus.publish(HistoryRestored(task_ids=(task_id,)))
        elif await self._history.get(task_id) is None:
            raise NotFound("there is no such task (any more)")

    async def delete_range(self, start_ms: int, end_ms: int) -> list[TaskRecord]:
        """Delete the ended tasks queued within the range, both ends included; their records."""
        at_ms = now_ms()
        deleted: list[TaskRecord] = []
        while records := await self._trash.discard_range(start_ms, end_ms, at_ms):
            deleted += records
        if deleted:
            self._bus.publish(HistoryDeleted(task_ids=tuple(record.task_id for record in deleted)))
            await self.empty_trash(at_ms)
        return deleted

    async def empty_trash(self, until_ms: int) -> int:
        """Remove, files included, every task whose time to be restored has passed; how many."""
        removed, after = 0, -1
        while records := await self._trash.expired(until_ms, after):
            await self._delete_files(records)  # first: what is cut short here is done again later
            await self._trash.forget(records)
            removed += len(records)
            after = records[-1].id
        return removed

    async def tidy(self, limits: Limits, at_ms: int) -> int:
        """Delete the tasks beyond the limits; how many."""
        removed = 0
        while gone := await self._retention.discard_excess(limits, at_ms):
            self._bus.publish(HistoryDeleted(task_ids=gone))
            await self.empty_trash(at_ms)
            removed += len(gone)
        return removed

    async def keep_tidy(self, limits: Limits) -> None:
        """Empty the trash and apply the limits, again and again."""
        for check in itertools.count():
            await self.empty_trash(now_ms())
            if check % CHECKS_PER_TIDY == 0 and (removed := await self.tidy(limits, now_ms())):
                log.info("%d tasks beyond the keep options were deleted", removed)
            await asyncio.sleep(CHECK_SECONDS)

    async def _delete_files(self, records: list[TaskRecord]) -> None:
        for record in records:
            for path in record.result or ():
                await asyncio.to_thread(self._outputs.delete, path)
