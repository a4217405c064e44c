"""From the queue to the workers: takes tasks while workers are free and follows each to its end."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from bus.bus import EventBus
from bus.events import DownloadProgress, TaskStarted
from bus.inbox import LoopInbox
from bus.supervision import Supervisor, settled
from pipeline.errors import InternalError, PipelineError, TaskAborted, WorkerLost
from pipeline.request.images import image_fields
from pipeline.scheduling.engine_protocol import Inputs
from pipeline.scheduling.pool import WorkerPool
from pipeline.scheduling.progress import RunningTask, model_event
from pipeline.scheduling.queue import Waiting
from pipeline.scheduling.storage import TaskStorage
from pipeline.scheduling.task import Outcome, Task
from pipeline.scheduling.task_queue import TaskQueue
from pipeline.scheduling.turn import Turn
from pipeline.scheduling.worker import Assignment, Failure, RunsTogether, Worker
from pipeline.scheduling.worker_events import Download, ModelState, WorkerEvent

log = logging.getLogger(__name__)

ABORT_GRACE_S: Final = 2.0  # of the time to shut down, reserved for the step in progress
RUN_LIMIT: Final = 2  # runs of a task that end with the loss of its worker


@dataclass(frozen=True, slots=True)
class Listener:
    """Whom the dispatcher tells of a task's course. ``ended`` is awaited with its outcome."""

    begun: Callable[[], None]
    ended: Callable[[Task, Outcome], Awaitable[None]]
    free: Callable[[], None]
    devices_changed: Callable[[], None]
    returned: Callable[[Waiting], None]  # to be put back into the queue: its worker was lost


class Dispatcher:
    """Owns the running tasks. Event loop only, but for what workers' sinks pass to it."""

    def __init__(
        self, bus: EventBus, queue: TaskQueue, pool: WorkerPool, storage: TaskStorage
    ) -> None:
        self._bus = bus
        self._queue = queue
        self._pool = pool
        self._storage = storage
        self._running: dict[str, RunningTask] = {}
        self._runs: dict[str, asyncio.Task[None]] = {}
        self._aborted: set[str] = set()
        self._apart: set[str] = set()  # tasks that share no turn
        self._inbox: LoopInbox[tuple[str, RunningTask | None, WorkerEvent]] = LoopInbox(
            asyncio.get_running_loop(), self._receive
        )
        self.closing = False
        """Set at the beginning of ``close``, after which no task begins."""

    def start(self, supervisor: Supervisor, listener: Listener) -> None:
        """Start the workers and begin to drain the queue."""
        self._pool.keep_running(
            supervisor, lambda name: partial(self._sink, name, None), listener.devices_changed
        )
        supervisor.keep("dispatcher", lambda: self._drain(listener))

    def running(self) -> tuple[RunningTask, ...]:
        """The running tasks: one a worker, or several that it makes together."""
        return tuple(self._running.values())

    def ask(self, task_id: str | None, ask: Callable[[RunningTask], None]) -> bool:
        """Apply ``ask`` to the named task, or to one of each worker: of those that it makes
        together the first. False if there was none."""
        if task_id is None:
            asked = list({r.device: r for r in reversed(self._running.values())}.values())
        else:
            asked = [r for r in self._running.values() if r.task.task_id == task_id]
        for running in asked:
            ask(running)
        return bool(asked)

    async def close(self, grace_s: float) -> None:
        """Let the running tasks end within ``grace_s``, else abort them.

        An aborted task is not reported as ended, and its images are deleted. Idempotent.
        """
        self.closing = True
        forgive = self._storage.attempts.forgive  # first: the process may be killed meanwhile
        await asyncio.gather(*(forgive(task_id) for task_id in self._running))
        await self._join(grace_s - ABORT_GRACE_S)
        for running in self._running.values():
            if not running.stop_requested:
                self._aborted.add(running.task.task_id)
                running.ask_to_stop()
        await self._join(ABORT_GRACE_S)
        for run in self._runs.values():
            run.cancel()
        await asyncio.gather(*self._runs.values(), return_exceptions=True)
        self._inbox.close()
        for worker in self._pool.workers():
            worker.close()

    async def _join(self, seconds: float) -> None:
        if self._runs:
            await asyncio.wait(self._runs.values(), timeout=max(0.0, seconds))

    async def _drain(self, listener: Listener) -> None:
        """Begin one task after another, each when a worker is free."""
        while True:
            await self._pool.wait_for_free()
            waiting = await self._queue.take(self._is_prepared)
            try:
                self._begin(waiting, listener)
            finally:
                if waiting.task.task_id not in self._running:
                    self._queue.put_nowait(waiting)

    def _is_prepared(self, task: Task) -> bool:
        """Has a free worker the task's model? With one worker, tasks keep their order."""
        one = len(self._pool.workers()) == 1
        return one or self._pool.is_loaded_on_free(task.params.base_model_name)

    def _begin(self, waiting: Waiting, listener: Listener) -> None:
        """Give a task to a worker, and those that it makes together with it. There may be no
        worker left: one may fail while the queue is empty."""
        free = self._pool.free_count()
        worker = self._pool.take(waiting.task.params.base_model_name)
        if worker is None:
            return
        task = waiting.task
        members = [self._started(waiting, worker, listener)]
        if isinstance(worker, RunsTogether) and task.task_id not in self._apart:
            images = worker.images_together(task.request) - task.params.image_number
            # Other free workers get their share.
            for companion in self._queue.take_companions(waiting, images // free, self._apart):
                members.append(self._started(companion, worker, listener))
        over = partial(self._pool.give_back, worker)
        turn = Turn(worker, task.task_id, len(members), over)
        for running, entry in members:
            run = asyncio.create_task(self._follow(turn, running, entry, listener))
            self._runs[running.task.task_id] = run

    def _started(
        self, waiting: Waiting, worker: Worker, listener: Listener
    ) -> tuple[RunningTask, Waiting]:
        """A task that runs from now on, and is said to."""
        task = waiting.task
        running = RunningTask(
            task,
            worker.name,
            self._bus.publish,
            lambda made: self._storage.images.save(made, task_id=task.task_id),
            lambda skip: worker.cancel(task.task_id, skip=skip),
        )
        self._running[task.task_id] = running
        self._bus.publish(TaskStarted(device=worker.name), task.task_id)
        listener.begun()
        return running, waiting

    async def _follow(
        self, turn: Turn, running: RunningTask, waiting: Waiting, listener: Listener
    ) -> None:
        """See a run through, whatever happens in it."""
        task_id = running.task.task_id
        reported = False
        try:
            outcome = await self._outcome(turn, running)
            self._pool.count_pictures(turn.worker, len(running.snapshot.images))
            if outcome is None:
                listener.returned(waiting)
            elif task_id not in self._aborted or outcome.status != "stop":
                self._apart.discard(task_id)
                reported = True  # before the await: cancelled in it, the row is closed all the same
                await listener.ended(running.task, outcome)
        finally:
            turn.leave()
            del self._running[task_id], self._runs[task_id]
            if not reported:  # its next run makes them again
                await running.saving_ended()
                await asyncio.to_thread(self._discard, running.snapshot.images)
        listener.free()

    async def _outcome(self, turn: Turn, running: RunningTask) -> Outcome | None:
        """As ``_run``; an error of our own ends the task, too."""
        run = asyncio.create_task(self._run(turn, running))
        error = await settled(run)
        if error is None:
            return run.result()
        log.error("task %s: an unexpected error", running.task.task_id, exc_info=error)
        turn.worker.cancel(running.task.task_id)
        text = "an internal error; see the server log"
        return running.outcome(Failure(code=InternalError.code, text=text))

    async def _run(self, turn: Turn, running: RunningTask) -> Outcome | None:
        """The outcome of one run; None if the worker was lost and the task may run again."""
        task = running.task
        with turn.place() as place:
            attempt = await self._storage.attempts.begin(task.task_id)
            if attempt > RUN_LIMIT:
                text = f"the server or its worker died {RUN_LIMIT} times during this task"
                return running.outcome(Failure(code=WorkerLost.code, text=text))
            try:
                inputs = await self._read_inputs(task)
            except PipelineError as error:
                return running.outcome(Failure(code=error.code, text=str(error)))
            sink = partial(self._sink, turn.worker.name, running)
            if attempt > 1 and task.task_id != turn.leader:
                await self._set_apart(task)
                return _stopped(running)
            assignment = Assignment(task, inputs, sink)
            end = place.take(assignment, lambda: running.stop_requested, alone=attempt > 1)
        failure = await end
        await running.saved()
        failure = failure or await self._lost()
        if failure is None or failure.code != WorkerLost.code:
            return running.outcome(failure)
        log.error("task %s: %s", task.task_id, failure.text)
        return _after_loss(running, failure, attempt)

    async def _set_apart(self, task: Task) -> None:
        """A worker died of this task, or of one that was made with it: from now on it runs alone,
        so that it takes no others with it."""
        self._apart.add(task.task_id)
        await self._storage.attempts.forgive(task.task_id)

    async def _lost(self) -> Failure | None:
        """Why the images of a run that went well are gone: the folder was deleted meanwhile."""
        try:
            await asyncio.to_thread(self._storage.images.check)
        except PipelineError as error:
            return Failure(code=error.code, text=str(error))
        return None

    async def _read_inputs(self, task: Task) -> Inputs:
        """The task's input image files. Raises PipelineError if one is gone."""
        read = self._storage.inputs.read
        paths = {path for _, path in image_fields(task.params)}
        return {path: await asyncio.to_thread(read, path) for path in sorted(paths)}

    def _discard(self, images: tuple[str, ...]) -> None:
        for image in images:
            try:
                self._storage.images.delete(image)
            except (OSError, PipelineError) as error:  # the storage removes it at the next start
                log.warning("an image of a run that is repeated stays for now: %s", error)

    def _sink(self, worker: str, running: RunningTask | None, event: WorkerEvent) -> None:
        self._inbox.put((worker, running, event))

    def _receive(self, events: list[tuple[str, RunningTask | None, WorkerEvent]]) -> None:
        for worker, running, event in events:
            if running is None:
                self._receive_from_worker(worker, event)
            elif self._running.get(running.task.task_id) is running:  # late events are void
                running.apply(event)

    def _receive_from_worker(self, worker: str, event: WorkerEvent) -> None:
        match event:
            case ModelState():
                self._bus.publish(model_event(event, worker))
            case Download(name=name, received=received, total=total):
                self._bus.publish(DownloadProgress(name=name, received=received, total=total))
            case _:
                self._pool.note(worker, event)


def _after_loss(running: RunningTask, failure: Failure, attempt: int) -> Outcome | None:
    """How a task whose worker was lost ends; None if it runs again."""
    if (stopped := _stopped(running)) is not None or attempt < RUN_LIMIT:
        return stopped
    return running.outcome(failure)


def _stopped(running: RunningTask) -> Outcome | None:
    """The outcome of a task that was stopped; None for another."""
    stopped = Failure(code=TaskAborted.code, text="")
    return running.outcome(stopped) if running.stop_requested else None
