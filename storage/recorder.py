"""Records how tasks end: the row and the webhook owed for it, together or not at all."""

import asyncio
import logging
import sqlite3
from collections import Counter
from collections.abc import Callable
from typing import Final, Self

from bus.events import now_ms
from bus.supervision import Backoff, Supervisor
from pipeline.errors import InvalidParameter, PipelineError
from pipeline.request.resolved import ResolvedRequest
from pipeline.request.schema import GenerateParams
from pipeline.scheduling.task import Outcome, Task
from storage.database import WRITE_WAIT_S, Database
from storage.history import HistoryRepository
from storage.open_rows import OpenRow, UnresolvedRow
from storage.outbox import Outbox
from storage.unwritten import EndedTask, Journal, UnwrittenEnds

log = logging.getLogger(__name__)

PAUSES: Final = Backoff(first_s=1.0, limit_s=30.0)

OnWritten = Callable[[str, tuple[str, ...]], object]
"""Hears the id and the images of a task whose row is closed. Raises PipelineError."""

Resolve = Callable[[GenerateParams, frozenset[str]], ResolvedRequest]
"""Resolves stored parameters, given the names of the stored fields. Raises PipelineError."""


class Recorder:
    """Closes rows. Event loop only; used as a context manager, it tries again what has failed.

    An end that the database does not take (it is full, or locked by another process) is known
    from memory at once, through ``unwritten``, and from the journal after a restart. It is written
    as soon as the database can be, with growing pauses between the tries.
    """

    def __init__(
        self,
        database: Database,
        history: HistoryRepository,
        outbox: Outbox,
        unwritten: UnwrittenEnds,
        journal: Journal,
        pauses: Backoff = PAUSES,
    ) -> None:
        self._database = database
        self._history = history
        self._outbox = outbox
        self._unwritten = unwritten
        self._journal = journal
        self._pauses = pauses
        self.on_written: OnWritten = lambda _task_id, _images: None
        """Called on a thread after each row that was closed."""
        self._deferred = asyncio.Event()
        self._journaled: set[str] = set()
        self._supervisor = Supervisor()

    async def __aenter__(self) -> Self:
        """Begin to try again."""
        self._supervisor.keep("recorder", self._keep_trying)
        return self

    async def __aexit__(self, *exception: object) -> None:
        """Try a last time; what is still not written is left in the journal."""
        await self._supervisor.close()
        if self._unwritten and not await self._write_all():
            await self._note_in_journal()
            log.error("%d ends of tasks are left for the next start", len(self._unwritten))

    async def on_ended(self, task: Task, outcome: Outcome) -> None:
        """Close the task's row, or keep its end until that works. A second end changes nothing."""
        delivery = task.delivery
        ended = EndedTask(
            task_id=task.task_id,
            outcome=outcome,
            webhook_url=delivery.webhook,
            base_url=delivery.base_url,
        )
        await self._record(ended)

    async def recover(self, resolve: Resolve | None) -> list[OpenRow]:
        """Resolve what a former run left undone, oldest first, to be queued again.

        Ends that it left in the journal are written. Rows that cannot be read, or whose files are
        gone, are closed as failed; without ``resolve``, all are.
        """
        await self._replay()
        unfinished = await self._history.unfinished()
        ends = [
            EndedTask(
                task_id=bad.task_id,
                outcome=_failed(bad.error, InvalidParameter.code),
                webhook_url=bad.webhook_url,
                base_url=bad.base_url,
            )
            for bad in unfinished.unreadable
        ]
        rows = unfinished.rows
        resolved = await asyncio.to_thread(lambda: [_resolved(row, resolve) for row in rows])
        ends += [row for row in resolved if isinstance(row, EndedTask)]
        for error, count in Counter(ended.outcome.error for ended in ends).items():
            log.warning("%d tasks: %s", count, error)
        if ends:
            await self._record(*ends)
        return [row for row in resolved if isinstance(row, OpenRow)]

    async def _record(self, *ends: EndedTask) -> None:
        for ended in ends:
            self._unwritten.add(ended)
        if await self._write(*ends):
            await self._write_all()  # the database works: those that wait go with these
        else:
            for ended in ends:
                self._outbox.hold(ended)
            await self._note_in_journal()
            self._deferred.set()

    async def _write(self, *ends: EndedTask) -> bool:
        """Close rows and owe their webhooks, all or none. False if the database takes none."""
        closed: list[EndedTask] = []
        try:
            async with self._database.transaction(WRITE_WAIT_S) as connection:
                for ended in ends:
                    if not await self._history.close_row(connection, ended.task_id, ended.outcome):
                        continue
                    closed.append(ended)
                    if ended.webhook_url:
                        await self._outbox.owe(connection, ended)
        except sqlite3.Error as error:
            names = ", ".join(ended.task_id for ended in ends[:3])
            log.error("the ends of %d tasks (%s) are kept in memory: %s", len(ends), names, error)
            return False
        for ended in ends:
            self._unwritten.discard(ended.task_id)
            await self._outbox.written(ended.task_id)
        for ended in closed:
            await self._tell_written(ended)
        if self._journaled and not self._unwritten:
            await self._clear_journal()
        return True

    async def _tell_written(self, ended: EndedTask) -> None:
        try:
            await asyncio.to_thread(self.on_written, ended.task_id, ended.outcome.images)
        except PipelineError as error:  # the next start settles it
            log.warning("the pictures of task %s are not settled: %s", ended.task_id, error)

    async def _write_all(self) -> bool:
        """Write the ends that wait, oldest first, up to the first that is not taken."""
        for ended in self._unwritten:
            if not await self._write(ended):
                return False
        return True

    async def _keep_trying(self) -> None:
        while True:
            await self._deferred.wait()
            tries = 0
            while self._unwritten:
                tries += 1
                await asyncio.sleep(self._pauses.pause(tries))
                await self._write_all()
            self._deferred.clear()

    async def _replay(self) -> None:
        entries = await asyncio.to_thread(self._journal.read)
        self._journaled.update(ended.task_id for ended in entries)
        for ended in entries:
            self._unwritten.add(ended)
        if not await self._write_all():
            for ended in self._unwritten:
                self._outbox.hold(ended)
            self._deferred.set()

    async def _note_in_journal(self) -> None:
        new = [ended for ended in self._unwritten if ended.task_id not in self._journaled]
        if not new:
            return
        try:
            await asyncio.to_thread(self._journal.append, new)
        except OSError as error:
            log.error("the journal of ended tasks could not be written: %s", error)
        else:
            self._journaled.update(ended.task_id for ended in new)

    async def _clear_journal(self) -> None:
        try:
            await asyncio.to_thread(self._journal.clear)
        except OSError as error:
            log.error("the journal of ended tasks could not be removed: %s", error)
        else:
            self._journaled.clear()


def _resolved(row: UnresolvedRow, resolve: Resolve | None) -> OpenRow | EndedTask:
    """The row with its task, or its end where it does not run again or its files are gone."""
    if resolve is None:
        outcome = _failed("the server was restarted before the task ended", "restarted")
    else:
        try:
            return row.resolved(resolve(row.params, row.present))
        except PipelineError as error:
            outcome = _failed(str(error), error.code)
    return EndedTask(
        task_id=row.task_id,
        outcome=outcome,
        webhook_url=row.delivery.webhook,
        base_url=row.delivery.base_url,
    )


def _failed(error: str, code: str) -> Outcome:
    return Outcome(status="failed", error=error, code=code, finished_mills=now_ms())
