"""Writes down how tasks end: the row and the webhook owed for it, together or not at all."""

import asyncio
import logging
from collections.abc import Callable

from bus.events import now_ms
from pipeline.errors import InvalidParameter, PipelineError
from pipeline.request.resolved import ResolvedRequest
from pipeline.request.schema import GenerateParams
from pipeline.scheduling.task import Outcome, Task
from storage.database import Database
from storage.history import HistoryRepository, OpenRow, UnresolvedRow
from storage.webhooks import WebhookSender

log = logging.getLogger(__name__)


Resolve = Callable[[GenerateParams, frozenset[str]], ResolvedRequest]
"""Resolves stored parameters, given the names of the stored fields. Raises PipelineError."""


class Recorder:
    """Closes rows. Event loop only."""

    def __init__(
        self, database: Database, history: HistoryRepository, outbox: WebhookSender
    ) -> None:
        self._database = database
        self._history = history
        self._outbox = outbox

    async def on_ended(self, task: Task, outcome: Outcome) -> None:
        """Close the task's row. A second end of the same task changes nothing."""
        await self._close(task.task_id, outcome, task.delivery.webhook, task.delivery.base_url)

    async def recover(self, resolve: Resolve | None) -> list[OpenRow]:
        """Resolve what a former run left undone, oldest first, to be queued again.

        Rows that cannot be read, or whose files are gone, are closed as failed; without
        ``resolve``, all are.
        """
        unfinished = await self._history.unfinished()
        for bad in unfinished.unreadable:
            log.warning("task %s: %s", bad.task_id, bad.error)
            outcome = _failed(bad.error, InvalidParameter.code)
            await self._close(bad.task_id, outcome, bad.webhook_url, bad.base_url)
        rows = unfinished.rows
        resolved = await asyncio.to_thread(lambda: [_resolved(row, resolve) for row in rows])
        for row, end in zip(rows, resolved, strict=True):
            if isinstance(end, Outcome):
                log.warning("task %s: %s", row.task_id, end.error)
                await self._close(row.task_id, end, row.delivery.webhook, row.delivery.base_url)
        return [row for row in resolved if isinstance(row, OpenRow)]

    async def _close(self, task_id: str, outcome: Outcome, webhook_url: str, base_url: str) -> None:
        async with self._database.transaction() as connection:
            closed = await self._history.close_row(connection, task_id, outcome)
            if closed and webhook_url:
                await self._outbox.owe(connection, task_id, webhook_url, base_url)
        self._outbox.wake()


def _resolved(row: UnresolvedRow, resolve: Resolve | None) -> OpenRow | Outcome:
    """The row with its task, or how it ends where it does not run again or its files are gone."""
    if resolve is None:
        return _failed("the server was restarted before the task ended", "restarted")
    try:
        return row.resolved(resolve(row.params, row.present))
    except PipelineError as error:
        return _failed(str(error), error.code)


def _failed(error: str, code: str) -> Outcome:
    return Outcome(status="failed", error=error, code=code, finished_mills=now_ms())
