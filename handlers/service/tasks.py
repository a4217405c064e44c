"""One view of every task: live ones from the executor, ended ones from their rows."""

import asyncio
import base64
from contextlib import suppress

import msgspec

from handlers.service.errors import NotFound, TaskNotEnded
from pipeline.errors import ServerStopping
from pipeline.images.encode import MIME_TYPES
from pipeline.scheduling.executor import Executor
from pipeline.scheduling.progress import RunningTask
from storage.history import HistoryRepository
from storage.outputs import OutputStore
from storage.records import TaskRecord, absolute, absolute_url, pending_record, running_record


class Tasks:
    """Finds tasks, waits for them, stops them. Event loop only."""

    def __init__(
        self, executor: Executor, history: HistoryRepository, outputs: OutputStore
    ) -> None:
        self._executor = executor
        self._history = history
        self._outputs = outputs

    async def find(self, task_id: str) -> TaskRecord:
        """The record of a task as of now. Raises NotFound."""
        record = self.live(task_id) or await self._history.get(task_id)
        if record is None:
            raise NotFound("there is no such task")
        return record

    async def find_ended(self, task_id: str) -> TaskRecord:
        """The record of an ended task. Raises NotFound, TaskNotEnded."""
        self.check_not_live(task_id)
        return await self.find(task_id)

    def check_not_live(self, task_id: str) -> None:
        """Raise TaskNotEnded for a task that waits or runs."""
        if self.live(task_id) is not None:
            raise TaskNotEnded("the task has not ended; stop it first")

    def live(self, task_id: str) -> TaskRecord | None:
        """The record of a waiting or running task; None if it does neither (any more)."""
        if (running := self.running(task_id)) is not None:
            return _running_record(running)
        task = self._executor.waiting_task(task_id)
        return None if task is None else pending_record(task)

    def running(self, task_id: str) -> RunningTask | None:
        """A task that a device has; None if it is not running."""
        for running in self._executor.running():
            if running.task.task_id == task_id:
                return running
        return None

    def position(self, task_id: str) -> int | None:
        """How many tasks wait or run before this one; None unless it waits."""
        return self._executor.position(task_id)

    def current(self) -> list[TaskRecord]:
        """The running tasks."""
        return [_running_record(running) for running in self._executor.running()]

    def pending(self, offset: int, limit: int) -> list[TaskRecord]:
        """A page of the waiting tasks, in the order they will run."""
        return [pending_record(entry.task) for entry in self._executor.waiting(offset, limit)]

    async def end(self, task_id: str) -> TaskRecord:
        """Wait for a task's end and return its row.

        Raises NotFound if the row has been deleted, and ServerStopping if the server ends first:
        the task then runs after the next start.
        """
        with suppress(KeyError):  # it has ended before
            await self._executor.wait(task_id)
        record = await self._history.get(task_id)
        if record is None:
            raise NotFound("the task was deleted before it was answered")
        if record.task_status is None:
            raise ServerStopping("the server stops; the task runs when it is back")
        return record

    async def wait(self, task_id: str, seconds: float) -> None:
        """Wait until the task ends or the time is over; not for an ended or unknown one.

        Raises ServerStopping.
        """
        with suppress(KeyError, TimeoutError):
            async with asyncio.timeout(seconds):
                await self._executor.wait(task_id)

    async def stop(self, task_id: str | None = None) -> bool:
        """End the named task in any state, or without a name the running one of each device: of
        several that it makes together the first. False if there was nothing to end.

        Completes when the caller is cancelled, so that a stop that has begun closes the row.
        """
        return await asyncio.shield(self._executor.stop(task_id))

    async def stop_running(self) -> None:
        """End every running task, also those that a device makes together. Those that wait stay."""
        for running in self._executor.running():
            await self.stop(running.task.task_id)

    def skip(self, task_id: str | None = None) -> bool:
        """End the picture being made of the named task, or of one task a device. False if none."""
        return self._executor.skip(task_id)

    async def read_picture(self, path: str) -> bytes:
        """The file of a result. Raises NotFound if it is gone."""
        try:
            return await asyncio.to_thread(self._outputs.read, path)
        except FileNotFoundError:
            raise NotFound("the picture was deleted before it was answered") from None

    async def shown(
        self, record: TaskRecord, base_url: str, *, as_base64: bool = False
    ) -> TaskRecord:
        """The record for a client: with whole URLs, or its results as data URLs."""
        whole = absolute(record, base_url)
        if not as_base64 or record.result is None:
            return whole
        result = [await self._data_url(path, base_url) for path in record.result]
        return msgspec.structs.replace(whole, result=result)

    async def _data_url(self, path: str, base_url: str) -> str:
        """The file as a data URL; the plain URL where the file is gone."""
        try:
            data = await self.read_picture(path)
        except NotFound:
            return absolute_url(path, base_url)
        mime = MIME_TYPES[path.rpartition(".")[2].lower()]
        return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def _running_record(running: RunningTask) -> TaskRecord:
    """The record of a running task, with the newest preview."""
    snapshot = running.snapshot
    return running_record(running.task, running.started_mills, snapshot.progress, snapshot.preview)
