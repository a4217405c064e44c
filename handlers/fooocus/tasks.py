"""GET /tasks and /tasks/{task_id}: what waits, what runs, and the history."""

import asyncio
from typing import Annotated, Final, Literal

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, UnsetType

from bus.events import now_ms
from handlers.http.operation import Operation, Payload
from handlers.http.query import EndTime, StartTime, wrong_query
from handlers.http.respond import base_url, json_response
from handlers.http.same_site import check_change
from handlers.keys import HISTORY
from handlers.service.deletion import TaskLeft
from handlers.service_keys import DELETION, TASKS
from storage.records import TaskRecord, absolute

PAGE_SIZE: Final = 10
PAGE_SIZE_LIMIT: Final = 1000
PAGE_LIMIT: Final = 10**9
WAIT_LIMIT_S: Final = 60  # of a long poll; many proxies cut a silent reply off soon after
FEW: Final = 20  # records that are encoded on the event loop


class TasksQuery(msgspec.Struct, kw_only=True):
    """The query of the task lists. ``page`` and ``page_size`` left out page by ten from 0."""

    query: Annotated[
        Literal["all", "history", "current", "pending"],
        Meta(description="Which lists to fill."),
    ] = "all"
    page: (
        Annotated[
            int, Meta(ge=0, le=PAGE_LIMIT, description="Page of history and pending, from 0.")
        ]
        | None
    ) = None
    page_size: (
        Annotated[
            int, Meta(ge=1, le=PAGE_SIZE_LIMIT, description="Records on a page; 10 if left out.")
        ]
        | None
    ) = None
    start_at: (
        Annotated[StartTime, Meta(description="ISO 8601; local time without a zone.")] | None
    ) = None
    end_at: Annotated[EndTime, Meta(description="ISO 8601; now if left out.")] | None = None
    action: Annotated[
        Literal["", "delete"], Meta(description="Delete what start_at and end_at select.")
    ] = ""

    @property
    def is_paged(self) -> bool:
        """A range of time is answered whole unless a page of it is asked for."""
        return self.start_at is None or self.page is not None or self.page_size is not None


class TasksReply(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for; the lists that were not asked for are empty.

    After a deletion, ``history`` holds what is gone. ``left`` is there only if something stays.
    """

    history: list[TaskRecord]
    current: list[TaskRecord]
    pending: list[TaskRecord]
    left: list[TaskLeft] | UnsetType = UNSET


@Operation(
    name="list_tasks",
    tag="tasks",
    summary="Queue and history",
    reply=Payload(type=TasksReply),
    errors=(401, 403, 422, 503, 507),
)
async def list_tasks(request: web.Request, query: TasksQuery) -> web.Response:
    """Queue and history; ``action=delete`` deletes the history within a range of time."""
    if query.action == "delete":
        return await _delete(request, query)
    wanted = query.query
    reply = TasksReply(
        history=await _history(request, query) if wanted in ("all", "history") else [],
        current=request.app[TASKS].current() if wanted in ("all", "current") else [],
        pending=_pending(request, query) if wanted in ("all", "pending") else [],
    )
    return await _answer(request, reply)


class TaskQuery(msgspec.Struct, kw_only=True):
    """The query of one task."""

    wait: Annotated[
        float,
        Meta(ge=0, le=WAIT_LIMIT_S, description="Seconds to wait for the task's end."),
    ] = 0


@Operation(
    name="get_task",
    tag="tasks",
    summary="One task: waiting, running or ended",
    reply=Payload(type=TaskRecord),
    errors=(401, 403, 404, 422, 503),
)
async def get_task(request: web.Request, query: TaskQuery) -> web.Response:
    """One task, alive or from the history, at once or when it has ended. 404 if there is none."""
    task_id = request.match_info["task_id"]
    tasks = request.app[TASKS]
    if query.wait:
        await tasks.wait(task_id, query.wait)
    record = await tasks.find(task_id)
    shown = await tasks.shown(record, base_url(request), as_base64=record.wants_base64)
    return json_response(shown)


async def _history(request: web.Request, query: TasksQuery) -> list[TaskRecord]:
    end_ms: int | None = query.end_at
    if query.start_at is not None and end_ms is None:
        end_ms = now_ms()
    return await request.app[HISTORY].page(
        query.start_at,
        end_ms,
        query.page or 0,
        (query.page_size or PAGE_SIZE) if query.is_paged else None,
    )


def _pending(request: web.Request, query: TasksQuery) -> list[TaskRecord]:
    size = query.page_size or PAGE_SIZE
    return request.app[TASKS].pending((query.page or 0) * size, size)


async def _delete(request: web.Request, query: TasksQuery) -> web.Response:
    if query.start_at is None:
        raise wrong_query("start_at", "delete needs the beginning of a range; nothing was deleted")
    check_change(request)
    end_ms = now_ms() if query.end_at is None else query.end_at
    deleted = await request.app[DELETION].delete_range(query.start_at, end_ms)
    reply = TasksReply(history=deleted.gone, current=[], pending=[], left=deleted.left or UNSET)
    return await _answer(request, reply)


async def _answer(request: web.Request, reply: TasksReply) -> web.Response:
    """With whole URLs. Long lists are encoded in a thread."""
    base = base_url(request)
    if len(reply.history) + len(reply.pending) <= FEW:
        return json_response(_with_urls(reply, base))
    return await asyncio.to_thread(lambda: json_response(_with_urls(reply, base)))


def _with_urls(reply: TasksReply, base: str) -> TasksReply:
    return TasksReply(
        history=[absolute(record, base) for record in reply.history],
        current=[absolute(record, base) for record in reply.current],
        pending=[absolute(record, base) for record in reply.pending],
        left=reply.left,
    )
