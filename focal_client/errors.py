"""What may go wrong, a class for each kind: no answer, a refusal, a task without its pictures."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import msgspec

from focal_client.structs import ErrorBody, FieldError, TaskRecord


class FocalError(Exception):
    """The root of every error of this package."""


class ConnectionFailed(FocalError):
    """The server cannot be reached, or does not answer in time."""


class UnexpectedReply(FocalError):
    """An answer that is none of a Focal server's."""


# What msgspec raises for bytes that are no JSON of the type; the last for no UTF-8.
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError)


class ApiError(FocalError):
    """A refused request.

    ``status`` is HTTP's, ``code`` the server's stable name, ``detail`` its explanation. ``fields``
    lists what is wrong with which field, ``retry_after`` the seconds after which to ask again.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        fields: tuple[FieldError, ...] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{detail} ({code}, {status})" if code else f"{detail} ({status})")
        self.status = status
        self.code = code
        self.detail = detail
        self.fields = fields
        self.retry_after = retry_after


class Unauthorized(ApiError):
    """401: the server wants a key and none was sent."""


class Forbidden(ApiError):
    """403: the key is wrong."""


class NotFound(ApiError):
    """404: no such task, picture, preset or model file."""


class Conflict(ApiError):
    """409: the task is not in a state for that."""


class TooLarge(ApiError):
    """413: the body or a picture is too large."""


class UnreadableImage(ApiError):
    """415: the bytes are no picture that the server reads."""


class InvalidField(ApiError):
    """422: a field is wrong; ``fields`` says which and why."""


class QueueFull(ApiError):
    """429: the queue is full, or this key's share of it; ``retry_after`` says when to come back."""


class ServerFault(ApiError):
    """500 and above: the server failed."""


class Unavailable(ServerFault):
    """503: not ready, stopping, or a resource is busy."""


class ModelNotInstalled(Unavailable):
    """503: a model file is missing; the detail names it, where it goes and where it is from."""


class TaskError(FocalError):
    """A task ended without the pictures asked for. ``record`` is what the server keeps of it."""

    def __init__(self, record: TaskRecord, message: str) -> None:
        super().__init__(message)
        self.record = record


class TaskFailed(TaskError):
    """The task failed; ``record.error`` and ``record.code`` say why."""


class TaskStopped(TaskError):
    """Somebody stopped the task. Pictures made before are in ``record.result``."""


class TaskSkipped(TaskError):
    """Somebody skipped every picture that the task still owed."""


_BY_STATUS: Final[Mapping[int, type[ApiError]]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    415: UnreadableImage,
    422: InvalidField,
    429: QueueFull,
    503: Unavailable,
}
_BY_CODE: Final[Mapping[str, type[ApiError]]] = {"model_not_installed": ModelNotInstalled}


def error_of(status: int, headers: Mapping[str, str], content: bytes) -> ApiError:
    """The error for a refusal's status, headers and body."""
    fallback = ServerFault if status >= HTTPStatus.INTERNAL_SERVER_ERROR else ApiError
    kind = _BY_STATUS.get(status, fallback)
    after = _seconds(headers.get("retry-after", ""))
    try:
        body = msgspec.json.decode(content, type=ErrorBody)
    except UNREADABLE:
        text = content[:200].decode("utf-8", "replace").strip()
        return kind(status, "", text or "no explanation", retry_after=after)
    kind = _BY_CODE.get(body.code, kind)
    if isinstance(body.detail, str):
        return kind(status, body.code, body.detail, retry_after=after)
    fields = tuple(body.detail)
    detail = "; ".join(
        f"{'.'.join(map(str, each.loc[1:] or each.loc))}: {each.msg}" for each in fields
    )
    return kind(status, body.code, detail, fields, after)


def check_ended(record: TaskRecord) -> None:
    """Raise the TaskError of a task that ended otherwise than finished."""
    match record.task_status:
        case "failed":
            raise TaskFailed(record, record.error or "the task failed")
        case "stop":
            raise TaskStopped(record, "the task was stopped")
        case "skip" if not record.result:
            raise TaskSkipped(record, "every picture of the task was skipped")


def _seconds(text: str) -> float | None:
    return float(text) if text.isascii() and text.isdecimal() else None
