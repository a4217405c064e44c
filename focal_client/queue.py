"""``client.queue``: looking at the queue and rearranging it."""

from typing import TYPE_CHECKING

from focal_client import calls
from focal_client.structs import QueueView

if TYPE_CHECKING:
    from focal_client.client import Client


class Queue:
    """The server's queue. Each change answers with the queue as it is then."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def view(self, limit: int = 200) -> QueueView:
        """What runs, and the first ``limit`` that wait."""
        return self._client.send(calls.queue(limit))

    def pause(self) -> QueueView:
        """Begin no more tasks; what runs goes on."""
        return self._client.send(calls.pause(True))

    def resume(self) -> QueueView:
        """Go on with a paused queue."""
        return self._client.send(calls.pause(False))

    def move(self, task_id: str, place: int) -> QueueView:
        """Put a waiting task at a place, from 0."""
        return self._client.send(calls.move(task_id, place))

    def prioritise(self, task_id: str, priority: int) -> QueueView:
        """Give a waiting task a priority; higher ones run first."""
        return self._client.send(calls.prioritise(task_id, priority))
