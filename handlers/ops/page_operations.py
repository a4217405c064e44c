"""What the URLs that the web page brought along take and give, for the OpenAPI document."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from handlers.http.operation import Operation, Payload
from handlers.web.deletion import Deleted, Restored
from handlers.web.gallery import PAGE_SIZE, PAGE_SIZE_LIMIT, SEARCH_LIMIT, HistoryReply, Marked
from handlers.web.models import ModelOverview
from handlers.web.queue import LAST_PLACE, QueueQuery, QueueReply
from pipeline.scheduling.queue import MAX_PRIORITY, MIN_PRIORITY
from storage.gallery import Summary
from storage.records import TaskRecord


class MoveQuery(msgspec.Struct, kw_only=True):
    task_id: Annotated[str, Meta(description="A task that waits.")]
    place: Annotated[
        int, Meta(ge=0, le=LAST_PLACE, description="How many waiting tasks stand before it.")
    ]


class PriorityQuery(msgspec.Struct, kw_only=True):
    task_id: Annotated[str, Meta(description="A task that waits.")]
    priority: Annotated[
        int, Meta(ge=MIN_PRIORITY, le=MAX_PRIORITY, description="Higher ones run first.")
    ]


class HistoryQuery(msgspec.Struct, kw_only=True):
    search: Annotated[
        str, Meta(max_length=SEARCH_LIMIT, description="Every word must stand in the prompt.")
    ] = ""
    status: Annotated[str, Meta(description="finished, failed, stop or skip.")] = ""
    model: Annotated[str, Meta(description="Name of the base model.")] = ""
    favourite: Annotated[Literal["0", "1"], Meta(description="1: favourites only.")] = "0"
    start_at: Annotated[str, Meta(description="ISO 8601; local time without a zone.")] = ""
    end_at: Annotated[str, Meta(description="ISO 8601; local time without a zone.")] = ""
    offset: Annotated[int, Meta(ge=0, description="How many newer ones to leave out.")] = 0
    limit: Annotated[
        int, Meta(ge=0, le=PAGE_SIZE_LIMIT, description="At most so many; 0 only counts.")
    ] = PAGE_SIZE


class MarkQuery(msgspec.Struct, kw_only=True):
    on: Annotated[Literal["0", "1"], Meta(description="0 takes the mark away.")] = "1"


PAGE_OPERATIONS: Final[tuple[Operation, ...]] = (
    Operation(
        method="GET",
        path="/v1/queue",
        name="queue",
        tag="queue",
        summary="What runs, a page of what waits, in order, and whether the queue is paused",
        query=QueueQuery,
        reply=Payload(type=QueueReply),
        errors=(401, 403, 422),
    ),
    Operation(
        method="POST",
        path="/v1/queue/pause",
        name="pause_queue",
        tag="queue",
        summary="Begin no more tasks; what runs goes on",
        description="Holds over a restart of the server, until it is resumed.",
        reply=Payload(type=QueueReply),
    ),
    Operation(
        method="POST",
        path="/v1/queue/resume",
        name="resume_queue",
        tag="queue",
        summary="Go on with a paused queue",
        reply=Payload(type=QueueReply),
    ),
    Operation(
        method="POST",
        path="/v1/queue/move",
        name="move_task",
        tag="queue",
        summary="Put a waiting task at another place in the queue",
        description="It takes on the priority that its new neighbours ask for.",
        query=MoveQuery,
        reply=Payload(type=QueueReply),
        errors=(401, 403, 404, 422),
    ),
    Operation(
        method="POST",
        path="/v1/queue/priority",
        name="prioritise_task",
        tag="queue",
        summary="Give a waiting task a priority; it goes behind those of the same",
        query=PriorityQuery,
        reply=Payload(type=QueueReply),
        errors=(401, 403, 404, 422),
    ),
    Operation(
        method="POST",
        path="/tasks/{task_id}/retry",
        name="retry_task",
        tag="tasks",
        summary="Queue an ended task's request again, seed and all, as a new task",
        headers={"Idempotency-Key": "A repeat with the same key joins the first one's task."},
        reply=Payload(type=TaskRecord),
        errors=(400, 401, 403, 404, 409, 413, 415, 422, 429, 503),
    ),
    Operation(
        method="POST",
        path="/tasks/{task_id}/favourite",
        name="mark_task",
        tag="history",
        summary="Make an ended task a favourite, or no longer one",
        query=MarkQuery,
        reply=Payload(type=Marked),
        errors=(401, 403, 404, 422),
    ),
    Operation(
        method="POST",
        path="/tasks/{task_id}/delete",
        name="delete_task",
        tag="history",
        summary="Delete an ended task; for a minute it can be restored",
        description="Row and picture files are removed when the time is over.",
        reply=Payload(type=Deleted),
        errors=(401, 403, 404, 409),
    ),
    Operation(
        method="POST",
        path="/tasks/{task_id}/restore",
        name="restore_task",
        tag="history",
        summary="Take a deletion back",
        reply=Payload(type=Restored),
        errors=(401, 403, 404),
    ),
    Operation(
        method="GET",
        path="/v1/history",
        name="history",
        tag="history",
        summary="Ended tasks as small cards, searched and filtered, newest first",
        query=HistoryQuery,
        reply=Payload(type=HistoryReply),
        errors=(401, 403, 422),
    ),
    Operation(
        method="GET",
        path="/v1/history/summary",
        name="history_summary",
        tag="history",
        summary="How many ended tasks there are, by status and by model",
        reply=Payload(type=Summary),
    ),
    Operation(
        method="GET",
        path="/thumbnails/{date}/{file}",
        name="thumbnail_file",
        tag="pictures",
        summary="A finished picture as a WebP of at most 384x384, made once and kept",
        reply=Payload(media_types=("image/webp",)),
        errors=(401, 403, 404),
        takes_token=True,
    ),
    Operation(
        method="GET",
        path="/v1/models",
        name="models",
        tag="engine",
        summary="What a request may name: model files, styles, presets; what is loaded; memory",
        reply=Payload(type=ModelOverview),
    ),
)
