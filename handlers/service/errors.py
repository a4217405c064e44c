"""What the service layer refuses, each with a stable ``code`` that ``handlers.http`` maps."""

from pipeline.errors import PipelineError


class NotFound(PipelineError):
    """There is no such task or picture (any more)."""

    code = "not_found"


class TaskNotEnded(PipelineError):
    """The task waits or runs, where an ended one is needed."""

    code = "not_ended"


class UnreadableRequest(PipelineError):
    """The stored request of a task cannot be decoded by this version."""

    code = "unreadable_request"
