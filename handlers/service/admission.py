"""From a checked request to a row in the history and an entry in the queue, or to neither."""

import asyncio

import msgspec

from handlers.service.images import NewInput
from pipeline.scheduling.executor import Executor
from pipeline.scheduling.task import Task
from storage.history import HistoryRepository
from storage.inputs import InputStore
from storage.watch import StorageWatch


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """A request that has passed every check. ``key`` is its idempotency key, or ""."""

    task: Task
    key: str = ""
    images: tuple[NewInput, ...] = ()  # stored once there is room in the queue


class Admissions:
    """Admits submissions, those of one idempotency key once. Event loop only."""

    def __init__(
        self,
        history: HistoryRepository,
        executor: Executor,
        inputs: InputStore,
        watch: StorageWatch,
    ) -> None:
        self._history = history
        self._executor = executor
        self._inputs = inputs
        self._watch = watch
        self._open: dict[str, asyncio.Task[str]] = {}

    async def admit(self, submission: Submission) -> str:
        """Store images and row, then queue the task. Returns its id.

        For a key that was seen before nothing is stored or queued, and the id is that of the first
        submission's task. Completes when the caller is cancelled: a row that is not queued would
        wait for the next start. Raises QueueFull, ServerStopping, SavingFailed.
        """
        name = submission.key or submission.task.task_id
        admission = self._open.get(name)
        if admission is None:
            admission = self._open[name] = asyncio.create_task(self._admit(submission))
            admission.add_done_callback(lambda done: self._close(name, done))
        return await asyncio.shield(admission)

    async def _admit(self, submission: Submission) -> str:
        if submission.key:
            first = await self._history.task_of_key(submission.key)
            if first is not None:
                return first
        with self._executor.reserve(submission.task.delivery.key):
            if submission.images:
                await asyncio.to_thread(self._store, submission.images)
            task, check = submission.task, self._watch.check
            admitted = await self._history.add_queued(task, submission.key, check)
            self._executor.submit(submission.task, admitted.row_id)
        return admitted.task_id

    def _store(self, images: tuple[NewInput, ...]) -> None:
        self._watch.check()
        for image in images:
            self._inputs.store(image.data, image.extension)

    def _close(self, name: str, admission: asyncio.Task[str]) -> None:
        del self._open[name]
        if not admission.cancelled():
            admission.exception()  # retrieved, since the caller may be gone
