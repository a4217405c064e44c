"""From a decoded request to a queued task, and the ticket by which its client follows it.

A request that is refused leaves nothing behind: every check comes before the row.
"""

import asyncio
import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Final

import msgspec

from bus.bus import EventBus
from bus.events import (
    TERMINAL,
    EventData,
    QueueChanged,
    TaskImage,
    TaskPreview,
    TaskProgress,
    TaskStarted,
    now_ms,
)
from bus.subscription import EventFilter, Subscription
from handlers.service.admission import Admissions, Submission
from handlers.service.errors import UnreadableRequest
from handlers.service.images import ImageReader, RequestImages
from handlers.service.tasks import Tasks
from pipeline.errors import InvalidParameter, PipelineError
from pipeline.files.resolve import Resolver
from pipeline.request.decode import Decoded, decoded_from
from pipeline.request.delivery import Delivery
from pipeline.scheduling.task import Task
from storage.fetch import GuardedClient, UrlRefused
from storage.records import TaskRecord, accepted_record

_COURSE: Final[tuple[type[EventData], ...]] = (
    QueueChanged,  # of every task: it moves this one's place
    TaskStarted,
    TaskProgress,
    TaskPreview,
    TaskImage,
    *TERMINAL,
)
FOLLOWED: Final = frozenset(kind.type for kind in _COURSE)


class Ticket:
    """A submitted task as its client sees it: to be awaited, followed, or looked up.

    ``task_id`` is that of an earlier task where the idempotency key was seen before.
    """

    def __init__(self, task: Task, task_id: str, tasks: Tasks, bus: EventBus, since: int) -> None:
        """``since``: the newest event when the task was submitted."""
        self.task = task
        self.task_id = task_id
        self._tasks = tasks
        self._bus = bus
        self._since = since

    @property
    def is_repeat(self) -> bool:
        """Whether the task is that of an earlier request."""
        return self.task_id != self.task.task_id

    def accepted(self) -> TaskRecord:
        """The record of a task of which only the id is known yet."""
        return accepted_record(msgspec.structs.replace(self.task, task_id=self.task_id))

    async def record(self) -> TaskRecord:
        """The task as of now. Raises NotFound."""
        return await self.shown(await self._tasks.find(self.task_id))

    async def end(self) -> TaskRecord:
        """Wait for the end; the final record. Raises NotFound, ServerStopping."""
        return await self.shown(await self.row())

    async def end_or_reason(self) -> TaskRecord | PipelineError:
        """As ``end``, with what it raises returned: for a stream, whose head has been sent."""
        try:
            return await self.end()
        except PipelineError as error:
            return error

    async def row(self) -> TaskRecord:
        """As ``end``, with results as paths on this server, for ``Tasks.read_picture``."""
        return await self._tasks.end(self.task_id)

    async def shown(self, record: TaskRecord) -> TaskRecord:
        """A record with its results in the form that the request asked for."""
        delivery = self.task.delivery
        as_base64 = delivery.require_base64
        return await self._tasks.shown(record, delivery.base_url, as_base64=as_base64)

    def events(self, limit: int = 256) -> AbstractContextManager[Subscription]:
        """Subscribe to the task's events: all since its submission.

        Of an earlier request's task, those from now on; ``Tasks.running`` tells what came before.
        """
        wanted = EventFilter(FOLLOWED, self.task_id, general=frozenset({QueueChanged.type}))
        return self._bus.subscribe(wanted, limit, None if self.is_repeat else self._since)


class Submissions:
    """Takes the requests of every API family. Event loop only."""

    def __init__(
        self,
        bus: EventBus,
        resolver: Resolver,
        images: ImageReader,
        admissions: Admissions,
        tasks: Tasks,
        client: GuardedClient,
    ) -> None:
        self._client = client
        self._bus = bus
        self._resolver = resolver
        self._images = images
        self._admissions = admissions
        self._tasks = tasks

    async def submit(
        self, request: Decoded, images: RequestImages, delivery: Delivery, key: str = ""
    ) -> Ticket:
        """Check a request, store its images and queue its task.

        With an idempotency ``key`` that was seen before, nothing is stored or queued: the ticket
        is of the first request's task. Raises PipelineError.
        """
        if delivery.webhook_url:
            try:
                self._client.check(delivery.webhook_url)
            except UrlRefused as error:
                raise InvalidParameter(("webhook_url",), str(error)) from error
        params = images.applied_to(request.params)
        resolved = await asyncio.to_thread(self._resolver.resolve, params, request.present)
        found = await self._images.resolve(resolved.params, images)
        task = Task(
            task_id=uuid.uuid4().hex,
            request=msgspec.structs.replace(resolved, params=found.params),
            in_queue_mills=now_ms(),
            delivery=delivery,
        )
        since = self._bus.last_seq
        task_id = await self._admissions.admit(Submission(task=task, key=key, images=found.new))
        return Ticket(task, task_id, self._tasks, self._bus, since)


def stored_request(fields: Mapping[str, object]) -> Decoded:
    """The request of a task's record, to be submitted again. Raises UnreadableRequest."""
    try:
        return decoded_from(fields)
    except (InvalidParameter, msgspec.ValidationError) as error:
        message = f"the task's request cannot be used any more: {error}"
        raise UnreadableRequest(message) from None
