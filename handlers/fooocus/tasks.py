"""GET /tasks and /tasks/{task_id}: what waits, what runs, and the history."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Literal, get_args

import msgspec
from aiohttp import web

from bus.events import now_ms
from handlers.http.errors import RequestRefused
from handlers.http.query import read_range, whole_number, wrong_query
from handlers.http.respond import base_url, json_response
from handlers.keys import EXECUTOR, HISTORY
from handlers.service.tasks import live_record, record_of, with_results
from handlers.service_keys import DELETION
from storage.records import TaskRecord, absolute, pending_record

Query = Literal["all", "history", "current", "pending"]

PAGE_SIZE: Final = 10
PAGE_SIZE_LIMIT: Final = 1000
PAGE_LIMIT: Final = 10**9
FEW: Final = 20  # records that are answered on the spot


class TasksReply(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for; the lists that were not asked for are empty."""

    history: list[TaskRecord]
    current: list[TaskRecord]
    pending: list[TaskRecord]


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """A query string, checked. ``start_ms`` and ``end_ms`` bound in_queue_mills, both included."""

    query: Query
    paged: bool
    page: int
    page_size: int
    start_ms: int | None
    end_ms: int | None


async def list_tasks(request: web.Request) -> web.Response:
    """Queue and history; with ``action=delete`` the history that a range of time holds goes."""
    selection = read_selection(request.query)
    if (bounds := read_deletion(request.query, selection)) is not None:
        deleted = await request.app[DELETION].delete_range(*bounds)
        return await _answer(request, TasksReply(history=deleted, current=[], pending=[]))
    wanted = selection.query
    reply = TasksReply(
        history=await _history(request, selection) if wanted in ("all", "history") else [],
        current=_current(request) if wanted in ("all", "current") else [],
        pending=_pending(request, selection) if wanted in ("all", "pending") else [],
    )
    return await _answer(request, reply)


async def get_task(request: web.Request) -> web.Response:
    """One task, alive or from the history. 404 if there is no such task."""
    task_id = request.match_info["task_id"]
    record = live_record(request, task_id) or await request.app[HISTORY].get(task_id)
    if record is None:
        raise RequestRefused(404, "not_found", "there is no such task")
    as_base64 = record.req_params.get("require_base64") is True
    return json_response(await with_results(request, record, as_base64=as_base64))


def read_selection(query: Mapping[str, str]) -> Selection:
    """Check a query string. Raises 422."""
    wanted: Any = query.get("query", "all")
    if wanted not in get_args(Query):
        raise wrong_query("query", f"Expected one of {', '.join(get_args(Query))}")
    start_ms, end_ms = read_range(query)
    if start_ms is not None and end_ms is None:
        end_ms = now_ms()
    return Selection(
        query=wanted,
        paged=start_ms is None or "page" in query or "page_size" in query,
        page=whole_number(query, "page", bounds=(0, PAGE_LIMIT), default=0),
        page_size=whole_number(query, "page_size", bounds=(1, PAGE_SIZE_LIMIT), default=PAGE_SIZE),
        start_ms=start_ms,
        end_ms=end_ms,
    )


def read_deletion(query: Mapping[str, str], selection: Selection) -> tuple[int, int] | None:
    """The range to delete, in Unix milliseconds; None if nothing is to be. Raises 422."""
    action = query.get("action", "")
    if action not in ("", "delete"):
        raise wrong_query("action", "Expected delete")
    if not action:
        return None
    if selection.start_ms is None or selection.end_ms is None:
        raise wrong_query("start_at", "delete needs the beginning of a range; nothing was deleted")
    return selection.start_ms, selection.end_ms


async def _history(request: web.Request, selection: Selection) -> list[TaskRecord]:
    return await request.app[HISTORY].page(
        selection.start_ms,
        selection.end_ms,
        selection.page,
        selection.page_size if selection.paged else None,
    )


def _current(request: web.Request) -> list[TaskRecord]:
    return [record_of(running) for running in request.app[EXECUTOR].running()]


def _pending(request: web.Request, selection: Selection) -> list[TaskRecord]:
    first = selection.page * selection.page_size
    waiting = request.app[EXECUTOR].waiting(first, selection.page_size)
    return [pending_record(entry.task) for entry in waiting]


async def _answer(request: web.Request, reply: TasksReply) -> web.Response:
    """With whole URLs. A long list takes longer than the event loop may be held."""
    base = base_url(request)
    if len(reply.history) + len(reply.pending) <= FEW:
        return json_response(_with_urls(reply, base))
    return await asyncio.to_thread(lambda: json_response(_with_urls(reply, base)))


def _with_urls(reply: TasksReply, base: str) -> TasksReply:
    return TasksReply(
        history=[absolute(record, base) for record in reply.history],
        current=[absolute(record, base) for record in reply.current],
        pending=[absolute(record, base) for record in reply.pending],
    )
