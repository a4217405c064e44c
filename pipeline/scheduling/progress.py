"""A running task on the event loop: applies its worker's events and saves its images."""

import asyncio
import base64
from collections.abc import Callable

import msgspec

from bus.events import (
    EventData,
    ModelLoaded,
    ModelLoading,
    ModelUnloaded,
    TaskFailed,
    TaskFinished,
    TaskImage,
    TaskPreview,
    TaskProgress,
    TaskSkipped,
    TaskStopped,
    now_ms,
)
from pipeline.errors import SavingFailed, TaskAborted
from pipeline.scheduling.task import MadeImage, Outcome, Snapshot, Task, TaskStatus
from pipeline.scheduling.worker import Failure
from pipeline.scheduling.worker_events import (
    ImageDone,
    ModelState,
    Note,
    Preview,
    Progress,
    Skipped,
    WorkerEvent,
)

Publish = Callable[[EventData, str | None], None]
SaveImage = Callable[[MadeImage], str]
"""Writes an image file and returns its path; blocks. Raises SavingFailed."""
Cancel = Callable[[bool], None]
"""Asks the worker to end the run, or the image being made (True)."""


class RunningTask:
    """One task while a worker has it. Event loop only.

    Images are saved one after another on a thread of the loop's pool, so neither the device nor
    the loop waits for the disk. An image that cannot be saved ends the task.
    """

    def __init__(
        self, task: Task, device: str, publish: Publish, save: SaveImage, cancel: Cancel
    ) -> None:
        self.task = task
        self.device = device
        self.started_mills = now_ms()
        self.snapshot = Snapshot(message="Loading models ...")
        self.stop_requested = False
        self._publish = publish
        self._save = save
        self._cancel = cancel
        self._notes: dict[str, object] = {}
        self._skipped = False
        self._steps = 0
        self._unsaved: list[MadeImage] = []
        self._saving: asyncio.Task[None] | None = None
        self._save_failure: Failure | None = None
        self._unpublished: list[TaskImage] = []

    def ask_to_stop(self) -> None:
        """End the task at its next step. Idempotent."""
        self.stop_requested = True
        self._cancel(False)

    def ask_to_skip(self) -> None:
        """End the image being made at its next step and go on with the next one."""
        self._cancel(True)

    def apply(self, event: WorkerEvent) -> None:
        """Take one event of the worker into account."""
        match event:
            case Progress():
                self._progress(event)
            case Preview(data=data, mime=mime):
                url = f"data:{mime};base64,{base64.b64encode(data).decode()}"
                self._update(preview=url)
                self._tell(TaskPreview(image=url))
            case ImageDone(made=made):
                self._unsaved.append(made)
                if self._saving is None or self._saving.done():
                    self._saving = asyncio.create_task(self._save_all())
            case Skipped():
                self._skipped = True
            case Note(key=key, value=value):
                self._notes[key] = value
            case ModelState():
                self._tell(model_event(event, self.device))

    async def saved(self) -> None:
        """Wait until every image received so far is saved, or one could not be."""
        await self.saving_ended()
        if self._saving is not None:
            self._saving.result()  # raises what is not SavingFailed

    async def saving_ended(self) -> None:
        """As ``saved``, and never raises."""
        if self._saving is not None:
            await asyncio.wait((self._saving,))

    def outcome(self, failure: Failure | None) -> Outcome:
        """How the task ended. Call it after ``saved``; publishes the images held back until now."""
        failure = self._save_failure or failure
        self._tell_images()
        status: TaskStatus = "finished"
        if failure is not None:
            status = "stop" if failure.code == TaskAborted.code else "failed"
        elif self._skipped and not self.snapshot.images:
            status = "skip"
        failed = failure if status == "failed" else None
        return Outcome(
            status=status,
            images=self.snapshot.images,
            code=failed.code if failed else "",
            error=failed.text if failed else "",
            started_mills=self.started_mills,
            finished_mills=now_ms(),
            steps=self._steps,
            notes=self._notes,
        )

    def _progress(self, event: Progress) -> None:
        percent = max(self.snapshot.progress, min(100, event.percent))  # it never falls
        self._update(
            progress=percent,
            message=event.message,
            step=event.step,
            steps=event.steps,
            image=event.image,
        )
        self._steps = event.steps or self._steps
        self._tell(
            TaskProgress(
                progress=percent,
                step=event.step,
                steps=event.steps,
                image=event.image,
                images=event.images,
                message=event.message,
            )
        )

    async def _save_all(self) -> None:
        while self._unsaved and self._save_failure is None:
            made = self._unsaved.pop(0)
            try:
                url = await asyncio.to_thread(self._save, made)
            except SavingFailed as error:
                self._save_failure = Failure(code=error.code, text=str(error))
                self._cancel(False)
                return
            self._add_image(url, made.seed)

    def _add_image(self, url: str, seed: int) -> None:
        index = len(self.snapshot.images)
        self._update(images=(*self.snapshot.images, url))
        self._unpublished.append(TaskImage(url=url, seed=seed, index=index))
        if not self.task.params.disable_intermediate_results:
            self._tell_images()

    def _tell_images(self) -> None:
        for event in self._unpublished:
            self._tell(event)
        self._unpublished.clear()

    def _update(self, **changes: object) -> None:
        self.snapshot = msgspec.structs.replace(self.snapshot, **changes)

    def _tell(self, event: EventData) -> None:
        self._publish(event, self.task.task_id)


def model_event(state: ModelState, device: str) -> EventData:
    """The bus event of a model that comes or goes."""
    match state.state:
        case "loading":
            return ModelLoading(name=state.name, kind=state.kind, device=device)
        case "loaded":
            return ModelLoaded(
                name=state.name, kind=state.kind, device=device, seconds=state.seconds
            )
        case "unloaded":
            return ModelUnloaded(name=state.name, kind=state.kind, device=device)


def end_line(task: Task, outcome: Outcome) -> str:
    """The log line of an ended task."""
    key = f" of key {task.delivery.key}" if task.delivery.key else ""
    return (
        f"task {task.task_id}{key} {outcome.status}: {len(outcome.images)} images of"
        f" {task.params.aspect_ratios_selection}, {outcome.steps} steps, {outcome.seconds:.2f} s"
    )


def terminal_event(outcome: Outcome) -> EventData:
    """The bus event of a task's end."""
    match outcome.status:
        case "finished":
            return TaskFinished(images=outcome.images, seconds=outcome.seconds)
        case "stop":
            return TaskStopped(images=outcome.images)
        case "skip":
            return TaskSkipped(images=outcome.images)
        case "failed":
            return TaskFailed(code=outcome.code, error=outcome.error)
