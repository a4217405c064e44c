"""Deletes ended tasks: single ones restorably, ranges, and those beyond the limits.

A task is moved to the trash first, then its files are removed, then its rows. The trash is what
survives a crash in between: the next start goes on with it. A file that cannot be removed holds up
no other: its task goes back into the history, or, where a person has deleted it already, stays in
the trash until its files can be removed.
"""

import asyncio
import itertools
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final

import msgspec

from bus.bus import EventBus
from bus.events import HistoryDeleted, HistoryRestored, now_ms
from handlers.service.errors import NotFound, TaskNotEnded
from pipeline.errors import DiskFull, SavingFailed
from storage.database import fault_code
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


Batch = Callable[[], Awaitable[list[TaskRecord]]]
"""Finds a batch of tasks, or moves one to the trash."""


class TaskLeft(msgspec.Struct, frozen=True, kw_only=True):
    """A task that stays in the history because a file of it could not be removed."""

    task_id: str
    error: str


class Deleted(msgspec.Struct, frozen=True, kw_only=True):
    """What a deletion has done: the records of the tasks that are gone, and those left."""

    gone: list[TaskRecord] = []
    left: list[TaskLeft] = []


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
        self._removing = asyncio.Lock()  # so that no task is removed and put back at once
        self._owed: frozenset[str] = frozenset()  # tasks in the trash with files that stay

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

    async def delete_range(self, start_ms: int, end_ms: int) -> Deleted:
        """Delete the ended tasks queued within the range, both ends included.

        Completes when the caller is cancelled.
        """
        return await asyncio.shield(self._delete_range(start_ms, end_ms))

    async def empty_trash(self, until_ms: int) -> int:
        """Remove, files included, every task whose time to be restored has passed; how many.

        Tasks whose files cannot be removed stay in the trash: the next call tries again.
        """
        removed, after, owed = 0, -1, set[str]()
        async with self._removing:
            while records := await self._trash.expired(until_ms, after):
                failed = await self._remove_files(records, self._owed)
                await self._trash.forget([each for each in records if each.task_id not in failed])
                owed |= failed.keys()
                removed += len(records) - len(failed)
                after = records[-1].id
        self._owed = frozenset(owed)
        return removed

    async def tidy(self, limits: Limits, at_ms: int) -> int:
        """Delete the tasks beyond the limits; how many. Those whose files stay are left out."""
        removed = 0
        spared: set[int] = set()
        while True:
            async with self._removing:
                records = await self._with_room(
                    partial(self._retention.discard_excess, limits, at_ms, spared),
                    partial(self._retention.excess, limits, at_ms, spared),
                )
                if not records:
                    return removed
                deleted = await self._remove(records)
            left = {each.task_id for each in deleted.left}
            spared |= {record.id for record in records if record.task_id in left}
            self._publish(deleted)
            removed += len(deleted.gone)

    async def keep_tidy(self, limits: Limits) -> None:
        """Empty the trash and apply the limits, again and again, while the outputs are there."""
        for check in itertools.count():
            try:
                await asyncio.to_thread(self._outputs.check)
            except SavingFailed as error:
                log.debug("nothing is tidied up: %s", error)
            else:
                await self.empty_trash(now_ms())
                if check % CHECKS_PER_TIDY == 0 and (gone := await self.tidy(limits, now_ms())):
                    log.info("%d tasks beyond the keep options were deleted", gone)
            await asyncio.sleep(CHECK_SECONDS)

    async def _delete_range(self, start_ms: int, end_ms: int) -> Deleted:
        await asyncio.to_thread(self._outputs.check)
        at_ms = now_ms()
        deleted = Deleted()
        last: TaskRecord | None = None
        async with self._removing:
            while records := await self._with_room(
                partial(self._trash.discard_range, start_ms, end_ms, at_ms, last),
                partial(self._trash.next_of_range, start_ms, end_ms, last),
            ):
                batch = await self._remove(records)
                deleted.gone.extend(batch.gone)
                deleted.left.extend(batch.left)
                last = records[-1]
        self._publish(deleted)
        return deleted

    async def _with_room(self, discard: Batch, chosen: Batch) -> list[TaskRecord]:
        """What ``discard`` moves to the trash, all of it ``chosen``.

        On a full disk the files go first, which makes the room for the rows.
        """
        try:
            return await discard()
        except sqlite3.Error as error:
            if fault_code(error) != DiskFull.code:
                raise
        await self._remove_files(await chosen())
        return await discard()

    async def _remove(self, records: list[TaskRecord]) -> Deleted:
        """Remove tasks that are in the trash; those whose files stay go back into the history."""
        failed = await self._remove_files(records)
        await self._trash.restore_rows([each.id for each in records if each.task_id in failed])
        gone = [each for each in records if each.task_id not in failed]
        await self._trash.forget(gone)
        left = [TaskLeft(task_id=task_id, error=error) for task_id, error in failed.items()]
        return Deleted(gone=gone, left=left)

    def _publish(self, deleted: Deleted) -> None:
        if deleted.gone or deleted.left:
            task_ids = tuple(record.task_id for record in deleted.gone)
            left = tuple(task.task_id for task in deleted.left)
            self._bus.publish(HistoryDeleted(task_ids=task_ids, left=left))

    async def _remove_files(
        self, records: list[TaskRecord], told: frozenset[str] = frozenset()
    ) -> Mapping[str, str]:
        """Remove the files of each task. Why it failed, by task id; logged unless ``told``."""
        failed = await asyncio.to_thread(_failures, self._outputs.delete, records)
        for task_id, error in failed.items():
            if task_id not in told:
                log.warning("a picture of task %s could not be deleted: %s", task_id, error)
        return failed


def _failures(delete: Callable[[str], None], records: list[TaskRecord]) -> dict[str, str]:
    """Delete every picture, going on after a failure; the first one of each task."""
    failures: dict[str, str] = {}
    for record in records:
        for path in record.result or ():
            try:
                delete(path)
            except (OSError, SavingFailed) as error:
                reason = error.strerror if isinstance(error, OSError) else str(error)
                failures.setdefault(record.task_id, f"{path}: {reason or 'the system refused'}")
    return failures
