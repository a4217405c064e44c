"""Publishes the state of the queue and of the devices on the event bus."""

from collections.abc import Callable

from bus.bus import EventBus
from bus.events import QueueChanged, ServerStatus, TaskQueued
from pipeline.scheduling.task_queue import TaskQueue
from pipeline.scheduling.worker import DeviceState, overall_state


class Announcer:
    """Publishes changes of the queue, and the server's status when it differs from the last one.

    ``running`` gives the number of running tasks, ``devices`` the state of each device.
    """

    def __init__(
        self,
        bus: EventBus,
        queue: TaskQueue,
        running: Callable[[], int],
        devices: Callable[[], tuple[DeviceState, ...]],
    ) -> None:
        self._bus = bus
        self._queue = queue
        self._running = running
        self._devices = devices
        self._status: ServerStatus | None = None  # the newest that was published

    def task_queued(self, task_id: str) -> None:
        """Publish the task's place, counting the running tasks, then the queue's change."""
        place = self._queue.tasks.place(task_id)
        position = 0 if place is None else place + self._running()
        self._bus.publish(TaskQueued(position=position), task_id)
        self.queue_changed()

    def queue_changed(self) -> None:
        """Publish the queue's counts, its revision and the last change."""
        tasks = self._queue.tasks
        changed = QueueChanged(
            pending=len(tasks),
            running=self._running(),
            paused=self._queue.paused,
            revision=tasks.revision,
            change=tasks.last_change,
        )
        self._bus.publish(changed)

    def devices_changed(self) -> None:
        """Publish the server's status, combined from its devices, if it has changed."""
        devices = self._devices()
        detail = next((device.error for device in devices if device.error), "")
        status = ServerStatus(status=overall_state(devices), detail=detail)
        if status != self._status:
            self._status = status
            self._bus.publish(status)
