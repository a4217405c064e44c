"""Writes down how tasks end: the row and the webhook owed for it, together or not at all."""

import logging

from bus.events import now_ms
from pipeline.errors import InvalidParameter
from pipeline.scheduling.task import Outcome, Task
from storage.database import Database
from storage.history import HistoryRepository, OpenRow
from storage.webhooks import WebhookSender

log = logging.getLogger(__name__)


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
        await self._close(task.task_id, outcome, task.webhook_url, task.base_url)

    async def recover(self, requeue: bool) -> list[OpenRow]:
        """What a former run left undone, oldest first, to be queued again.

        Rows that cannot be read any more are closed as failed; without ``requeue``, all are.
        """
        unfinished = await self._history.unfinished()
        for bad in unfinished.unreadable:
            log.warning("task %s: %s", bad.task_id, bad.error)
            outcome = _failed(bad.error, InvalidParameter.code)
            await self._close(bad.task_id, outcome, bad.webhook_url, bad.base_url)
        if requeue:
            return unfinished.rows
        for row in unfinished.rows:
            outcome = _failed("the server was restarted before the task ended", "restarted")
            await self.on_ended(row.task, outcome)
        return []

    async def _close(self, task_id: str, outcome: Outcome, webhook_url: str, base_url: str) -> None:
        async with self._database.transaction() as connection:
            closed = await self._history.close_row(connection, task_id, outcome)
            if closed and webhook_url:
                await self._outbox.owe(connection, task_id, webhook_url, base_url)
        self._outbox.wake()


def _failed(error: str, code: str) -> Outcome:
    return Outcome(status="failed", error=error, code=code, finished_mills=now_ms())
