"""Frames of ``/ws``: the JSON messages of either side, and how a frame is written (RFC 6455)."""

from typing import Final

import msgspec

from handlers.service.queue import RunningView

TEXT: Final = 0x81  # a whole text frame
BINARY: Final = 0x82


class Subscribe(msgspec.Struct, tag="subscribe", tag_field="op"):
    """Receive more types, all if none are named; ``task_id`` changes the task, null means any."""

    types: list[str] | None = None
    task_id: str | msgspec.UnsetType | None = msgspec.UNSET


class Unsubscribe(msgspec.Struct, tag="unsubscribe", tag_field="op"):
    """Receive fewer types, none at all if none are named."""

    types: list[str] | None = None


class Ping(msgspec.Struct, tag="ping", tag_field="op"):
    """Ask for a ``pong``."""


class Stop(msgspec.Struct, tag="stop", tag_field="op"):
    """End the running task, or the one named."""

    task_id: str | None = None


class Skip(msgspec.Struct, tag="skip", tag_field="op"):
    """End the picture being made."""

    task_id: str | None = None


class Pong(msgspec.Struct, tag="pong", tag_field="op"):
    """Reply to a ping. ``seq`` is the newest event."""

    seq: int


class CommandReply(msgspec.Struct):
    """Reply to ``stop`` or ``skip``."""

    op: str
    message: str


class Listening(msgspec.Struct):
    """What the client receives after ``subscribe`` or ``unsubscribe``; null stands for all."""

    op: str
    types: list[str] | None
    task_id: str | None


class FrameError(msgspec.Struct):
    """A client's frame that could not be used. The connection stays."""

    error: str
    code: str


class State(msgspec.Struct):
    """The state that a new client needs before the first event."""

    pending: int
    running: list[RunningView]
    paused: bool
    revision: int


class Hello(msgspec.Struct, tag="hello", tag_field="type"):
    """First frame: the state after event ``seq``."""

    seq: int
    data: State


ClientFrame = Subscribe | Unsubscribe | Ping | Stop | Skip
ServerFrame = Pong | CommandReply | Listening | FrameError | Hello


_decode: Final = msgspec.json.Decoder(ClientFrame).decode


def decode_frame(data: str | bytes) -> ClientFrame | FrameError:
    """A client's frame, or the reply to one that is not understood."""
    try:
        command: ClientFrame = _decode(data)
    except msgspec.ValidationError as error:
        return FrameError(str(error), "invalid_frame")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return FrameError(f"not JSON: {error}", "invalid_json")
    return command


def frame(kind: int, payload: bytes) -> bytes:
    """A whole, unmasked frame (RFC 6455, section 5.2)."""
    size = len(payload)
    if size < 126:
        head = bytes((kind, size))
    elif size < 2**16:
        head = bytes((kind, 126)) + size.to_bytes(2)
    else:
        head = bytes((kind, 127)) + size.to_bytes(8)
    return head + payload
