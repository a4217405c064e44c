"""/prompt, /queue, /interrupt and /history: what runs, what waits, what has ended."""

import asyncio
from typing import Annotated, Final

import msgspec
from aiohttp import web
from msgspec import Meta

from handlers.comfyui.describe import describe
from handlers.comfyui.views import (
    HistoryEntry,
    QueueItem,
    history_entry,
    queue_item,
)
from handlers.http.body import read_json
from handlers.http.operation import Payload
from handlers.http.refusal import RequestRefused
from handlers.http.respond import json_response
from handlers.keys import EXECUTOR, HISTORY
from handlers.service.records import dashed_id, plain_id
from handlers.service_keys import TASKS
from pipeline.scheduling.executor import Executor
from storage.records import TaskRecord

MAX_ITEMS: Final = 1000  # of one reply


class ExecInfo(msgspec.Struct, frozen=True):
    """How many tasks run or wait."""

    queue_remaining: int


class PromptInfo(msgspec.Struct, frozen=True):
    """The state of the queue."""

    exec_info: ExecInfo


class PromptQueue(msgspec.Struct, frozen=True, kw_only=True):
    """What runs and the first thousand that wait: number, id, graph, extra data, node ids."""

    queue_running: list[QueueItem]
    queue_pending: list[QueueItem]


class ChangeQueue(msgspec.Struct, frozen=True, kw_only=True):
    """Body of POST /queue."""

    clear: Annotated[bool, Meta(description="End every task that waits.")] = False
    delete: Annotated[list[str], Meta(description="Ids of waiting tasks to end.")] = []


class Interrupt(msgspec.Struct, frozen=True, kw_only=True):
    """Body of POST /interrupt, which may be empty."""

    prompt_id: Annotated[str, Meta(description="The task to end; else all that run.")] = ""


class PromptHistoryQuery(msgspec.Struct, kw_only=True):
    """The query of GET /history."""

    max_items: (
        Annotated[int, Meta(ge=0, description="Entries at most; 1000 in any case.")] | None
    ) = None
    offset: Annotated[
        int, Meta(ge=-1, description="Entries to leave out, from the oldest; -1: the newest ones.")
    ] = -1


@describe(
    name="comfyui_prompt_info",
    summary="How many tasks run or wait",
    reply=Payload(type=PromptInfo),
)
async def prompt_info(request: web.Request) -> web.Response:
    """The state of the queue."""
    return json_response(PromptInfo(ExecInfo(remaining(request.app[EXECUTOR]))))


@describe(
    name="comfyui_post_prompt",
    summary="Refused: graphs are not executed here",
    status=400,
    errors=(400, 401, 403),
)
async def post_prompt(_: web.Request) -> web.Response:
    """400 in ComfyUI's form, whatever the body is."""
    raise RequestRefused(
        400,
        "graphs_not_executed",
        "this server does not execute graphs; POST /v1/engine/generate/ says what a picture is"
        " to be, and docs/family-comfyui.md what of ComfyUI's API is here",
    )


@describe(name="comfyui_queue", summary="What runs and what waits", reply=Payload(type=PromptQueue))
async def show_queue(request: web.Request) -> web.Response:
    """The queue in the order it will run."""
    executor = request.app[EXECUTOR]
    tasks = [running.task for running in executor.running()]
    first = len(tasks)
    tasks += [entry.task for entry in executor.waiting(0, MAX_ITEMS)]
    items = [queue_item(n, task.task_id, task.params) for n, task in enumerate(tasks)]
    reply = PromptQueue(queue_running=items[:first], queue_pending=items[first:])
    return await asyncio.to_thread(json_response, reply)


@describe(
    name="comfyui_change_queue",
    summary="End tasks that wait",
    body=Payload(type=ChangeQueue),
    errors=(400, 401, 403, 413, 422),
)
async def change_queue(request: web.Request) -> web.Response:
    """End the named tasks that wait, or all; others, and unknown ones, stay as they are."""
    body, headers = await read_json(request, ChangeQueue)
    executor = request.app[EXECUTOR]
    named = [plain_id(prompt_id) for prompt_id in body.delete]
    if body.clear:
        named = [entry.task.task_id for entry in executor.waiting()]
    for task_id in named:
        if executor.waiting_task(task_id) is not None:
            await request.app[TASKS].stop(task_id)
    return web.Response(headers=headers)


@describe(
    name="comfyui_interrupt",
    summary="End the running tasks, or the named one",
    body=Payload(type=Interrupt),
    errors=(400, 401, 403, 413, 422),
)
async def interrupt(request: web.Request) -> web.Response:
    """Stop what runs; a task that waits stays. Idempotent."""
    body, headers = await read_json(request, Interrupt, optional=True)
    tasks = request.app[TASKS]
    if not body.prompt_id:
        await tasks.stop_running()
    elif tasks.running(task_id := plain_id(body.prompt_id)) is not None:
        await tasks.stop(task_id)
    return web.Response(headers=headers)


@describe(
    name="comfyui_history",
    summary="Ended tasks by id, the oldest first",
    reply=Payload(type=dict[str, HistoryEntry]),
    errors=(401, 403, 422),
)
async def list_history(request: web.Request, query: PromptHistoryQuery) -> web.Response:
    """A stretch of the history, by default its newest part."""
    history = request.app[HISTORY]
    count = MAX_ITEMS if query.max_items is None else min(query.max_items, MAX_ITEMS)
    newer = 0
    if query.offset >= 0:
        rest = max(0, await history.count() - query.offset)
        count = min(count, rest)
        newer = rest - count
    records = await history.stretch(None, None, newer, count) if count else []
    return await asyncio.to_thread(_history_reply, records)


@describe(
    name="comfyui_history_entry",
    summary="One ended task by its id; an empty object if there is none",
    reply=Payload(type=dict[str, HistoryEntry]),
)
async def get_history(request: web.Request) -> web.Response:
    """Empty too for a task that waits or runs."""
    record = await request.app[HISTORY].get(plain_id(request.match_info["prompt_id"]))
    is_ended = record is not None and record.task_status is not None
    return _history_reply([record] if record is not None and is_ended else [])


@describe(
    name="comfyui_change_history",
    summary="Refused: with its entries the pictures would go",
    status=501,
    errors=(401, 403, 501),
)
async def change_history(_: web.Request) -> web.Response:
    """501: ComfyUI keeps the files of entries that are deleted, and this server does not."""
    raise RequestRefused(
        501,
        "not_implemented",
        "here an entry of the history is deleted with its pictures: POST /tasks/{task_id}/delete",
    )


def remaining(executor: Executor) -> int:
    """How many tasks run or wait."""
    return executor.waiting_count + len(executor.running())


def _history_reply(records: list[TaskRecord]) -> web.Response:
    return json_response(
        {dashed_id(record.task_id): history_entry(record) for record in reversed(records)}
    )
