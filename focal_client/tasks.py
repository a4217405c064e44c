"""Tasks of a ``Client``: one that was submitted, and those of the queue and the history."""

from typing import TYPE_CHECKING

from focal_client import calls
from focal_client.events import Event
from focal_client.pictures import Picture
from focal_client.structs import Deleted, HistoryReply, TaskRecord, TasksReply
from focal_client.transport import has_ended

if TYPE_CHECKING:
    from collections.abc import Iterator

    from focal_client.client import Client

REPLAY_S = 2.0  # that a server needs at most to begin a replay
TERMINAL = ("task.finished", "task.failed", "task.stopped", "task.skipped")


class Task:
    """A task by its id."""

    def __init__(self, client: "Client", task_id: str) -> None:
        self.id = task_id
        self._client = client

    def __repr__(self) -> str:
        return f"Task({self.id!r})"

    def record(self) -> TaskRecord:
        """The task as it is now."""
        return self._client.tasks.get(self.id)

    def wait(self) -> TaskRecord:
        """The record when the task has ended. Raises TaskError unless it has finished."""
        return self._client.wait(self.id)

    def pictures(self) -> list[Picture]:
        """Wait, and fetch the pictures. Raises TaskError."""
        return self._client.fetch(self.wait())

    def events(self) -> "Iterator[Event]":
        """What happens to the task from its beginning on, as far as the server still knows it."""
        quiet_s = REPLAY_S if has_ended(self.record()) else None
        for event in self._client.events(task_id=self.id, since=0, quiet_s=quiet_s):
            if event.type != "bus.gap":  # there is one before a server's first event
                yield event
            if event.type in TERMINAL:
                return

    def stop(self) -> str:
        """End the task, waiting or running."""
        return self._client.tasks.stop(self.id)

    def skip(self) -> str:
        """End the picture being made and go on with the next."""
        return self._client.tasks.skip(self.id)


class Tasks:
    """``client.tasks``: queue and history."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def get(self, task_id: str) -> TaskRecord:
        """One task, alive or ended. Raises NotFound."""
        return self._client.send(calls.task(task_id))

    def list(
        self, query: str = "all", page: int | None = None, page_size: int | None = None
    ) -> TasksReply:
        """What waits, what runs, and a page of the history."""
        return self._client.send(calls.tasks(query, page, page_size))

    def history(
        self, search: str = "", status: str = "", offset: int = 0, limit: int = 60
    ) -> HistoryReply:
        """Ended tasks as cards, newest first; every word of ``search`` stands in the prompt."""
        return self._client.send(calls.history(search, status, offset, limit))

    def retry(self, task_id: str) -> Task:
        """The same request again, seed and all, as a new task."""
        return Task(self._client, self._client.send(calls.retry(task_id)).task_id)

    def delete(self, task_id: str) -> Deleted:
        """Delete an ended task; until the time in the reply ``restore`` takes that back."""
        return self._client.send(calls.delete(task_id))

    def restore(self, task_id: str) -> None:
        """Take a deletion back."""
        self._client.send(calls.restore(task_id))

    def favourite(self, task_id: str, on: bool = True) -> None:
        """Make an ended task a favourite, or no longer one."""
        self._client.send(calls.favourite(task_id, on))

    def stop(self, task_id: str | None = None) -> str:
        """End a task, else what runs; the server's word on it."""
        return self._client.send(calls.control("stop", task_id)).message

    def skip(self, task_id: str | None = None) -> str:
        """End the picture being made; the server's word on it."""
        return self._client.send(calls.control("skip", task_id)).message
