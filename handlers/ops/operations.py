"""What each URL takes and gives, for the OpenAPI document. One entry a method and path."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from handlers.fooocus.control import ControlReply
from handlers.fooocus.schemas import (
    AllModels,
    DescribeImage,
    Description,
    GenerateMask,
    PictureMetadata,
    ReadMetadata,
)
from handlers.fooocus.tasks import TasksReply
from handlers.http.operation import IMAGE_TYPES, Operation, Payload
from handlers.ops.health import Health
from handlers.ops.page_operations import PAGE_OPERATIONS
from handlers.web.login import Grant
from handlers.web.models import Unloaded
from pipeline.request.delivery import GenerateRequest
from storage.records import TaskRecord


class ControlQuery(msgspec.Struct, kw_only=True):
    action: Annotated[Literal["stop", "skip"], Meta(description="What to do.")]
    task_id: Annotated[str | UnsetType, Meta(description="Which task; else what runs.")] = UNSET


class TasksQuery(msgspec.Struct, kw_only=True):
    query: Annotated[
        Literal["all", "history", "current", "pending"],
        Meta(description="Which lists to fill."),
    ] = "all"
    page: Annotated[int, Meta(ge=0, description="Page of history and pending, from 0.")] = 0
    page_size: Annotated[int, Meta(ge=1, le=1000, description="Records on a page.")] = 10
    start_at: Annotated[str, Meta(description="ISO 8601; local time without a zone.")] = ""
    end_at: Annotated[str, Meta(description="ISO 8601; now if left out.")] = ""
    action: Annotated[
        Literal["", "delete"], Meta(description="Delete what start_at and end_at select.")
    ] = ""


class OutputQuery(msgspec.Struct, kw_only=True):
    metadata: Annotated[
        Literal["0", "1"], Meta(description="0: the file without its parameters, as stored else.")
    ] = "1"


class EventsQuery(msgspec.Struct, kw_only=True):
    types: Annotated[str, Meta(description="Event types, with commas; all if left out.")] = ""
    task_id: Annotated[str, Meta(description="Only this task's events.")] = ""
    since: Annotated[
        int | UnsetType, Meta(description="Replay the events after this number first.")
    ] = UNSET


class SocketQuery(EventsQuery, kw_only=True):
    preview: Annotated[
        Literal["json", "binary"], Meta(description="Previews as JSON or as binary frames.")
    ] = "json"


class HealthQuery(msgspec.Struct, kw_only=True):
    ready: Annotated[Literal["0", "1"], Meta(description="1: 503 until pictures can be made.")] = (
        "0"
    )


_PROMPT: Final = {"prompt": "", "negative_prompt": "", "performance_selection": "Lightning"}
_GENERATE: Final = Operation(
    method="POST",
    path="/v1/engine/generate/",
    name="generate",
    tag="engine",
    summary="Make pictures",
    description=(
        "Four ways of answering: `Accept: image/*` gives the picture itself; `stream_output` a"
        " stream of events; `async_process` an answer at once; else the record of the finished"
        " task. What is left out comes from the preset. The body is read as JSON whatever its"
        " Content-Type; unknown fields are named in the header X-Ignored-Params."
    ),
    body=Payload(
        type=GenerateRequest,
        examples={
            "synchronous": _PROMPT | {"webhook_url": ""},
            "asynchronous": _PROMPT | {"async_process": True, "webhook_url": ""},
            "stream": _PROMPT | {"stream_output": True, "webhook_url": ""},
            "picture": {"prompt": "a red circle on a blue background", "preset": "initial"},
        },
        accept={"picture": "image/png"},
    ),
    headers={
        "Accept": "An image type as first choice: the answer is the picture itself.",
        "Idempotency-Key": "A repeat with the same key joins the first one's task.",
    },
    reply=Payload(type=TaskRecord, media_types=(*IMAGE_TYPES, "text/event-stream")),
    errors=(400, 401, 403, 404, 413, 415, 422, 429, 500, 501, 503),
)

OPERATIONS: Final[tuple[Operation, ...]] = (
    _GENERATE,
    msgspec.structs.replace(
        _GENERATE,
        path="/v1/engine/generate",
        name="generate_without_slash",
        summary="Make pictures (the same without the last slash)",
    ),
    Operation(
        method="POST",
        path="/v1/engine/control",
        name="control",
        tag="engine",
        summary="Stop a task, or skip the picture being made",
        query=ControlQuery,
        reply=Payload(type=ControlReply),
        errors=(401, 403, 404, 422),
    ),
    Operation(
        method="POST",
        path="/v1/engine/unload",
        name="unload",
        tag="engine",
        summary="Give the memory of every loaded model back; the next task loads again",
        reply=Payload(type=Unloaded),
        errors=(401, 403, 503),
    ),
    Operation(
        method="GET",
        path="/tasks",
        name="list_tasks",
        tag="tasks",
        summary="Queue and history",
        query=TasksQuery,
        reply=Payload(type=TasksReply),
        errors=(401, 403, 422),
    ),
    Operation(
        method="GET",
        path="/tasks/{task_id}",
        name="get_task",
        tag="tasks",
        summary="One task: waiting, running or ended",
        reply=Payload(type=TaskRecord),
        errors=(401, 403, 404),
    ),
    Operation(
        method="GET",
        path="/outputs/{date}/{file}",
        name="output_file",
        tag="pictures",
        summary="A finished picture; Accept converts it",
        query=OutputQuery,
        headers={"Accept": "Another image type converts the picture on its way out."},
        reply=Payload(media_types=IMAGE_TYPES),
        errors=(401, 403, 404, 422),
        takes_token=True,
    ),
    Operation(
        method="GET",
        path="/inputs/{file}",
        name="input_file",
        tag="pictures",
        summary="A picture that was sent with a request; Accept converts it",
        headers={"Accept": "Another image type converts the picture on its way out."},
        reply=Payload(media_types=IMAGE_TYPES),
        errors=(401, 403, 404),
        takes_token=True,
    ),
    Operation(
        method="GET",
        path="/v1/engines/all-models",
        name="all_models",
        tag="engine",
        summary="Checkpoints and LoRAs on disk now",
        reply=Payload(type=AllModels),
    ),
    Operation(
        method="GET",
        path="/v1/engines/styles",
        name="styles",
        tag="engine",
        summary="Every style name",
        reply=Payload(type=list[str]),
    ),
    Operation(
        method="POST",
        path="/v1/tools/describe-image",
        name="describe_image",
        tag="tools",
        summary="Put a picture into words",
        description=(
            "A sentence by BLIP for a photo, tags by the WD14 tagger for a drawing. The device does"
            " it before its next task. 503 if a model is not installed: the detail says what to put"
            " where."
        ),
        body=Payload(type=DescribeImage),
        reply=Payload(type=Description),
        errors=(400, 401, 403, 404, 413, 415, 422, 500, 503),
    ),
    Operation(
        method="POST",
        path="/v1/tools/generate_mask",
        name="generate_mask",
        tag="tools",
        summary="Draw a mask of something in a picture, as base64 PNG",
        description=(
            "White is what was found. `sam` looks for what dino_prompt_text names (several things"
            " with full stops between them); the other models find the foreground. The device does"
            " it before its next task. 503 if a model is not installed: the detail says what to put"
            " where."
        ),
        body=Payload(type=GenerateMask),
        reply=Payload(type=str),
        errors=(400, 401, 403, 404, 413, 415, 422, 500, 503),
    ),
    Operation(
        method="POST",
        path="/v1/tools/read-metadata",
        name="read_metadata",
        tag="tools",
        summary="Read from a picture the request that makes it again",
        description=(
            "Reads the parameters that this server, Fooocus and A1111 write into PNG, JPEG and"
            " WebP files. A picture without any is answered too, with a `scheme` of null."
        ),
        body=Payload(type=ReadMetadata),
        reply=Payload(type=PictureMetadata),
        errors=(400, 401, 403, 404, 413, 415, 422, 501),
    ),
    Operation(
        method="GET",
        path="/v1/events",
        name="events",
        tag="events",
        summary="Everything that happens, as server-sent events",
        query=EventsQuery,
        headers={"Last-Event-ID": "As since; a browser sends it when it reconnects."},
        reply=Payload(media_types=("text/event-stream",)),
        errors=(401, 403, 422),
        takes_token=True,
    ),
    Operation(
        method="GET",
        path="/ws",
        name="websocket",
        tag="events",
        summary="The same over a WebSocket, which takes commands too",
        query=SocketQuery,
        status=101,
        errors=(401, 403, 422),
        takes_token=True,
    ),
    Operation(
        method="GET",
        path="/v1/token",
        name="token",
        tag="access",
        summary="A signed ?token= for streams, sockets and pictures, good for five minutes",
        reply=Payload(type=Grant),
    ),
    Operation(
        method="POST",
        path="/login",
        name="login",
        tag="access",
        summary="Trade the key, in a form field `key`, for a session cookie",
        body=Payload(media_types=("application/x-www-form-urlencoded",)),
        reply=Payload(type=Grant),
        errors=(400, 403, 413),
        is_open=True,
    ),
    Operation(
        method="POST",
        path="/logout",
        name="logout",
        tag="access",
        summary="Forget the session cookie",
        status=204,
    ),
    Operation(
        method="GET",
        path="/health",
        name="health",
        tag="server",
        summary="Is the server alive, and can it make pictures?",
        query=HealthQuery,
        reply=Payload(type=Health),
        errors=(403,),
        is_open=True,
    ),
    Operation(
        method="GET",
        path="/metrics",
        name="metrics",
        tag="server",
        summary="Counts and durations for Prometheus",
        reply=Payload(media_types=("text/plain",)),
    ),
    Operation(
        method="GET",
        path="/openapi.json",
        name="openapi",
        tag="server",
        summary="This document",
        reply=Payload(type=dict[str, object]),
    ),
    Operation(
        method="GET",
        path="/docs",
        name="docs",
        tag="server",
        summary="This document as a page to read and try",
        reply=Payload(media_types=("text/html",)),
        errors=(),
        is_open=True,
    ),
    Operation(
        method="GET",
        path="/static/{path}",
        name="static_file",
        tag="server",
        summary="The web page's files",
        reply=Payload(media_types=("text/html", "text/css", "text/javascript")),
        errors=(404,),
        is_open=True,
    ),
    Operation(
        method="GET",
        path="/",
        name="index",
        tag="server",
        summary="Goes on to the web page",
        status=302,
        errors=(),
        is_open=True,
    ),
    *PAGE_OPERATIONS,
)
