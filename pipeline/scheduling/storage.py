"""What the executor needs of the storage below the event loop."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.errors import InputMissing
from pipeline.scheduling.attempts import Attempts, MemoryAttempts
from pipeline.scheduling.task import MadeImage, Outcome, Task

OnEnded = Callable[[Task, Outcome], Awaitable[None]]
"""Commits the final row. Awaited before the terminal event, so a subscriber finds the row."""


class ImageStore(Protocol):
    """Where finished images go. Its methods block and are called on threads of the loop's pool."""

    def save(self, made: MadeImage, *, task_id: str) -> str:
        """Write an image of a task; its path, such as ``/outputs/2026-11-23/….png``.

        Raises SavingFailed.
        """

    def check(self) -> None:
        """Raise SavingFailed if the images saved so far are out of reach."""

    def delete(self, path: str) -> None:
        """Remove an image that ``save`` wrote. Idempotent."""


class InputStore(Protocol):
    """The input images of requests. ``read`` blocks and is called as ``ImageStore``'s methods."""

    def read(self, path: str) -> bytes:
        """An image file by its path, ``/inputs/<name>``. Raises PipelineError if it is gone."""


class NoInputs:
    """``InputStore`` of a server whose requests bring no images."""

    def read(self, path: str) -> bytes:
        """Raises InputMissing."""
        raise InputMissing(f"there are no input images here, so no {path}")


@dataclass(frozen=True, slots=True)
class TaskStorage:
    """The parts of the storage that a task's life touches."""

    images: ImageStore
    on_ended: OnEnded
    inputs: InputStore = field(default_factory=NoInputs)
    attempts: Attempts = field(default_factory=MemoryAttempts)
