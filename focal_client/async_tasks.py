"""Tasks of an ``AsyncClient``: one that was submitted, and those of the queue and the history."""

from typing import TYPE_CHECKING

from focal_client import calls
from focal_client.events import Event
from focal_client.pictures import Picture
from focal_client.structs import Deleted, HistoryReply, TaskRecord, TasksReply
from focal_client.tasks import REPLAY_S, TERMINAL
from focal_client.transport import has_ended

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from focal_client.async_client import AsyncClient


class AsyncTask:
    """A task by its id."""

    def __init__(self, client: "AsyncClient", task_id: str) -> None:
        self.id = task_id
        self._client = client

    def __repr__(self) -> str:
        return f"AsyncTask({self.id!r})"

    async def record(self) -> TaskRecord:
        """The task as it is now."""
        return await self._client.tasks.get(self.id)

    async def wait(self) -> TaskRecord:
        """The record when the task has ended. Raises TaskError unless it has finished."""
        return await self._client.wait(self.id)

    async def pictures(self) -> list[Picture]:
        """Wait, and fetch the pictures. Raises TaskError."""
        return await self._client.fetch(await self.wait())

    async def events(self) -> "AsyncIterator[Event]":
        """What happens to the task from its beginning on, as far as the server still knows it."""
        quiet_s = REPLAY_S if has_ended(await self.record()) else None
        async for event in self._client.events(task_id=self.id, since=0, quiet_s=quiet_s):
            if event.type != "bus.gap":  # there is one before a server's first event
                yield event
            if event.type in TERMINAL:
                return

    async def stop(self) -> str:
        """End the task, waiting or running."""
        return await self._client.tasks.stop(self.id)

    async def skip(self) -> str:
        """End the picture being made and go on with the next."""
        return await self._client.tasks.skip(self.id)


class AsyncTasks:
    """``client.tasks``: queue and history."""

    def __init__(self, client: "AsyncClient") -> None:
        self._client = client

    async def get(self, task_id: str) -> TaskRecord:
        """One task, alive or ended. Raises NotFound."""
        return await self._client.send(calls.task(task_id))

    async def list(
        self, query: str = "all", page: int | None = None, page_size: int | None = None
    ) -> TasksReply:
        """What waits, what runs, and a page of the history."""
        return await self._client.send(calls.tasks(query, page, page_size))

    async def history(
        self, search: str = "", status: str = "", offset: int = 0, limit: int = 60
    ) -> HistoryReply:
        """Ended tasks as cards, newest first; every word of ``search`` stands in the prompt."""
        return await self._client.send(calls.history(search, status, offset, limit))

    async def retry(self, task_id: str) -> AsyncTask:
        """The same request again, seed and all, as a new task."""
        return AsyncTask(self._client, (await self._client.send(calls.retry(task_id))).task_id)

    async def delete(self, task_id: str) -> Deleted:
        """Delete an ended task; until the time in the reply ``restore`` takes that back."""
        return await self._client.send(calls.delete(task_id))

    async def restore(self, task_id: str) -> None:
        """Take a deletion back."""
        await self._client.send(calls.restore(task_id))

    async def favourite(self, task_id: str, on: bool = True) -> None:
        """Make an ended task a favourite, or no longer one."""
        await self._client.send(calls.favourite(task_id, on))

    async def stop(self, task_id: str | None = None) -> str:
        """End a task, else what runs; the server's word on it."""
        return (await self._client.send(calls.control("stop", task_id))).message

    async def skip(self, task_id: str | None = None) -> str:
        """End the picture being made; the server's word on it."""
        return (await self._client.send(calls.control("skip", task_id))).message
