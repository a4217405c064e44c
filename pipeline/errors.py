"""What can go wrong on the picture side, each with a stable ``code`` that clients may rely on.

Errors cross from workers in other processes, so each can be pickled.
"""

from typing import Self


class PipelineError(Exception):
    """Something the user should hear about, in words that say what to do."""

    code = "pipeline_error"


class InvalidParameter(PipelineError):
    """A parameter has a value that cannot be used. ``field`` is its path in the request body."""

    code = "invalid_parameter"

    def __init__(self, field: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.field = field

    def __reduce__(self) -> tuple[type[Self], tuple[tuple[str | int, ...], str]]:
        return type(self), (self.field, str(self))


class UnsupportedFeature(PipelineError):
    """The request uses something this build does not do yet. ``field`` names it."""

    code = "not_implemented"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field

    def __reduce__(self) -> tuple[type[Self], tuple[str, str]]:
        return type(self), (self.field, str(self))


class ModelNotFound(PipelineError):
    """A preset or model file that the request names does not exist; ``field`` says where."""

    code = "model_not_found"

    def __init__(self, field: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.field = field

    def __reduce__(self) -> tuple[type[Self], tuple[tuple[str | int, ...], str]]:
        return type(self), (self.field, str(self))


class ModelNotInstalled(PipelineError):
    """A file that the request needs is not there; the message says what to put where."""

    code = "model_not_installed"


class DownloadFailed(PipelineError):
    """A model file could not be fetched; the message says why and where to put it."""

    code = "download_failed"


class InvalidModelFile(PipelineError):
    """A model file is damaged or of another kind; the message names the first wrong keys."""

    code = "invalid_model_file"


class DeviceOutOfMemory(PipelineError):
    """The device has no room for this picture; the message names what to lower."""

    code = "out_of_memory"


class InputMissing(PipelineError):
    """A stored input picture is not there (any more)."""

    code = "input_missing"


class SavingFailed(PipelineError):
    """A finished picture could not be written."""

    code = "saving_failed"


class DiskFull(SavingFailed):
    """There is no room for a picture or a row; everything goes on once there is."""

    code = "disk_full"


class OutputsMissing(SavingFailed):
    """The outputs folder, or the database in it, was deleted, replaced or unmounted."""

    code = "outputs_missing"


class DatabaseLocked(SavingFailed):
    """Another process holds the database; everything goes on once it lets go."""

    code = "database_locked"


class QueueFull(PipelineError):
    """As many tasks wait as the queue may hold."""

    code = "queue_full"


class DeviceBusy(PipelineError):
    """No device came round to a tool in time; trying again later may work."""

    code = "device_busy"


class InternalError(PipelineError):
    """An unexpected error on a worker; the server log has it."""

    code = "internal"


class WorkerLost(PipelineError):
    """The worker that had the task died, or its device can be used no more."""

    code = "worker_lost"


class KeyQueueFull(PipelineError):
    """As many tasks of one API key wait as it may have."""

    code = "key_queue_full"


class ServerStopping(PipelineError):
    """The server takes no more requests because it is about to end."""

    code = "server_stopping"


class TaskAborted(PipelineError):
    """Raised on the device thread when a person stopped the task."""

    code = "stopped"


class ImageSkipped(PipelineError):
    """Raised on the device thread when a person skipped the picture being made."""

    code = "skipped"
