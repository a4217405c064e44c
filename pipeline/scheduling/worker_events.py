"""What a worker reports while it works. Plain data, so that it can cross to another process."""

from collections.abc import Callable
from typing import Literal

import msgspec

from pipeline.scheduling.task import MadeImage


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """How far the task is. ``percent`` is 0-100; ``step`` and ``image`` count from 1 (0: none)."""

    percent: int
    message: str
    step: int = 0
    steps: int = 0
    image: int = 0
    images: int = 0


class Preview(msgspec.Struct, frozen=True, tag=True):
    """A small encoded picture of the image as the model sees it so far."""

    data: bytes
    mime: str


class ImageDone(msgspec.Struct, frozen=True, tag=True):
    """A finished image, to be saved by the server."""

    made: MadeImage


class Skipped(msgspec.Struct, frozen=True, tag=True):
    """The image being made was given up, as the client asked."""


class Note(msgspec.Struct, frozen=True, tag=True):
    """A fact for the task's record. ``value`` is what JSON can hold."""

    key: str
    value: object


class ModelState(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A model is being read, is on the device, or has left it. ``seconds``: how long it took."""

    kind: str
    name: str
    state: Literal["loading", "loaded", "unloaded"]
    seconds: float = 0.0


class Download(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Bytes of a model file fetched so far; ``total`` is 0 where the sender does not say."""

    name: str
    received: int
    total: int


class WorkerFailed(msgspec.Struct, frozen=True, tag=True):
    """The worker can do nothing any more until it is started again."""

    reason: str


WorkerEvent = Progress | Preview | ImageDone | Skipped | Note | ModelState | Download | WorkerFailed
Sink = Callable[[WorkerEvent], None]
"""Receives a worker's events in order. Any thread may call; never blocks."""
