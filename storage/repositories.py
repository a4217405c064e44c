"""Everything that reads and writes one database, opened together."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.scheduling.queue import Waiting
from storage.attempts import AttemptCounter
from storage.boards import BoardRepository
from storage.database import open_database
from storage.fetch import GuardedClient
from storage.gallery import GalleryRepository
from storage.history import HistoryRepository
from storage.orphans import remove_orphans
from storage.outbox import Outbox
from storage.outputs import OutputStore
from storage.queue_state import QueueState
from storage.recorder import Recorder, Resolve
from storage.records import encode_record
from storage.retention import Retention
from storage.trash import Trash
from storage.unwritten import Journal, UnwrittenEnds
from storage.watch import StorageWatch
from storage.webhooks import BodyOf, WebhookSender

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Repositories:
    """The repositories of one database."""

    history: HistoryRepository
    gallery: GalleryRepository
    boards: BoardRepository
    trash: Trash
    retention: Retention
    queue_state: QueueState
    attempts: AttemptCounter
    recorder: Recorder
    watch: StorageWatch
    outputs: OutputStore

    async def waiting(self, resolve: Resolve | None) -> list[Waiting]:
        """The tasks that an earlier run of the server left open, as they stood in the queue.

        Those that ``resolve`` refuses, or all without it, are closed as failed instead. Pictures
        that a crash left to nobody are removed.
        """
        rows = await self.recorder.recover(resolve)
        await remove_orphans(self.history, self.trash, self.outputs)
        return await self.queue_state.arranged(rows)


@asynccontextmanager
async def open_repositories(
    path: Path,
    outputs: OutputStore,
    client: GuardedClient,
    webhook_secret: str,
    webhook_body: BodyOf = encode_record,
) -> AsyncIterator[Repositories]:
    """Open the database file, creating or migrating it, and send webhooks that are owed.

    Raises what ``open_database`` does, and OSError.
    """
    journal = Journal(path.with_name(f"{path.name}-ended"))
    await asyncio.to_thread(journal.lend)
    async with open_database(path) as database:
        unwritten, outbox = UnwrittenEnds(), Outbox(database)
        history, trash = HistoryRepository(database, unwritten), Trash(database)
        try:
            await asyncio.to_thread(journal.reserve)
        except OSError as error:
            log.warning("no room is kept for the journal of ended tasks: %s", error)
        database.on_full = outputs.note_full
        async with (
            Recorder(database, history, outbox, unwritten, journal) as recorder,
            WebhookSender(outbox, history, client, webhook_secret, body_of=webhook_body),
        ):
            recorder.on_written = outputs.settle
            yield Repositories(
                history=history,
                gallery=GalleryRepository(database, history),
                boards=BoardRepository(database),
                trash=trash,
                retention=Retention(database, outputs, trash),
                queue_state=QueueState(database),
                attempts=AttemptCounter(database),
                recorder=recorder,
                watch=StorageWatch(outputs, path, database),
                outputs=outputs,
            )
