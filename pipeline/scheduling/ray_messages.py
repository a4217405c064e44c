"""What an actor of Ray sends to the server: structs, in batches, as msgpack."""

from typing import Final

import msgspec

from pipeline.scheduling.engine_protocol import LoadedModel
from pipeline.scheduling.worker import DeviceState, Failure, ToolReply
from pipeline.scheduling.worker_events import WorkerEvent

START: Final = 0
"""Number of the call that started the worker; its events belong to no task."""


class Emitted(msgspec.Struct, frozen=True, tag=True):
    """An event of a run, or of the worker itself (``START``)."""

    call: int
    event: WorkerEvent


class Ended(msgspec.Struct, frozen=True, tag=True):
    """A run or the start has ended."""

    call: int
    result: Failure | None


class Answered(msgspec.Struct, frozen=True, tag=True):
    """What a tool returned."""

    call: int
    result: ToolReply


class Raised(msgspec.Struct, frozen=True, tag=True):
    """The pickled PipelineError that a tool raised."""

    call: int
    error: bytes


class Released(msgspec.Struct, frozen=True, tag=True):
    """The names of the models that were unloaded."""

    call: int
    result: tuple[str, ...]


class Status(msgspec.Struct, frozen=True, tag=True):
    """The worker's state and models, sent before the message that tells of a call's end.

    ``memory`` is the resident size of the actor's process in bytes.
    """

    state: DeviceState
    loaded: tuple[LoadedModel, ...]
    memory: int


Message = Emitted | Ended | Answered | Raised | Released | Status

encode_batch = msgspec.msgpack.Encoder().encode
decode_batch = msgspec.msgpack.Decoder(tuple[Message, ...]).decode
