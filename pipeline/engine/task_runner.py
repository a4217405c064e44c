"""The images of one task or of several, made in batches."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Final

import msgspec
import torch
from torch import Tensor

from pipeline.engine.sdxl import ImageRun, MadeRow
from pipeline.engine.task_run import TaskRun
from pipeline.errors import (
    DeviceOutOfMemory,
    ImageSkipped,
    InternalError,
    PipelineError,
    TaskAborted,
)
from pipeline.memory.device import is_out_of_memory
from pipeline.request.plan import ImagePlan
from pipeline.request.sharing import shared_plan
from pipeline.sampling.interface import OnStep
from pipeline.scheduling.local_worker import INTERNAL, OUT_OF_MEMORY

log = logging.getLogger(__name__)

Ended = Callable[[TaskRun, PipelineError | None], None]
"""A task has ended, whole or with an error."""

LimitOf = Callable[[str, tuple[int, int]], int]
"""(sampler, (width, height) in pixels) -> how many such images are made together at most."""

_OVER: Final = "another image of this task has ended it"


@dataclass(slots=True, eq=False)
class _Job:
    """One image to be made."""

    task: TaskRun
    plan: ImagePlan
    is_expanded: bool = False  # whether the plan's prompt has been continued
    has_left: bool = False  # whether it was skipped or its task ended while it was made


class TaskRunner:
    """Makes the images of tasks, each once; a skipped one is left out.

    Neighbours whose plans have in common what is ``shared_plan`` are made together, also those of
    different tasks. An error ends its own task, or all of a batch that it concerns; of several
    tasks also one that is no PipelineError, where only a single task was at work.
    """

    def __init__(self, limit_of: LimitOf, ended: Ended) -> None:
        self._limit_of = limit_of
        self._ended = ended
        self._open: dict[TaskRun, int] = {}  # tasks that have not ended, with their images to come
        self._fitting: int | None = None  # images that may fit in memory, once more of them did not

    def run(self, tasks: Sequence[TaskRun]) -> None:
        """Make everything. What it raises is no PipelineError: tasks then have not all ended."""
        waiting: deque[_Job] = deque()
        for task in tasks:
            try:
                plans = task.prepare()
            except PipelineError as error:
                self._ended(task, error)
                continue
            self._open[task] = len(plans)
            if not plans:
                self._end(task)
            waiting += [_Job(task, plan) for plan in plans]
        while batch := self._next_batch(waiting):
            self._make(batch)

    def _next_batch(self, waiting: deque[_Job]) -> list[_Job]:
        """Remove the first image and those behind it that are made with it; [] where none is."""
        batch: list[_Job] = []
        limit = 1
        while waiting and len(batch) < limit:
            job = waiting[0]
            if job.task in self._open:
                if not batch:
                    limit = self._limit(job)
                elif not _may_share(batch[0], job):
                    break
                batch.append(job)
            waiting.popleft()
        return batch

    def _limit(self, job: _Job) -> int:
        """How many images such as this one are made in one run."""
        plan, most = job.plan, job.task.pipeline.most_together
        limit = self._limit_of(plan.sampling.sampler, plan.size.native)
        return limit if most is None else min(limit, most)

    def _make(self, batch: Sequence[_Job]) -> None:
        """Make a batch; in halves where the device has no memory for it."""
        size = len(batch) if self._fitting is None else self._fitting
        for at in range(0, len(batch), size):
            jobs = self._begun(batch[at : at + size])
            if jobs and not self._made(jobs):
                # The failed attempt's tensors are gone only here, where its exception is.
                self._fitting = len(jobs) // 2
                log.warning("no memory for %d images at once; %d next", len(jobs), self._fitting)
                self._make([job for job in jobs if not job.has_left])

    def _made(self, jobs: Sequence[_Job]) -> bool:
        """Make images and hand them to their tasks. False if the device has no memory for them."""
        started = time.perf_counter()
        try:
            made = self._sampled(jobs)
        except torch.OutOfMemoryError:
            if len(jobs) == 1:
                raise
            return False
        for job, row in made:
            self._finish(job, row)
        _log(jobs, time.perf_counter() - started)
        return True

    def _sampled(self, jobs: Sequence[_Job]) -> Iterator[tuple[_Job, MadeRow]]:
        """The images of those that do not leave meanwhile: sampled at once, decoded one by one."""
        runs: list[ImageRun] = []
        for task, own in _by_task(jobs):
            on_steps = task.on_steps([job.plan for job in own])
            for job, on_step in zip(own, on_steps, strict=True):
                runs.append(ImageRun(job.plan, partial(self._step, job, on_step)))
        leader = jobs[0].task
        try:
            made = leader.pipeline.make_batch(runs, leader.start, leader.conditions)
        except PipelineError as error:
            if all(job.has_left for job in jobs):
                return iter(())
            if isinstance(error, TaskAborted):  # while models were loaded, which the leader reports
                self._fail(leader, error)
                others = [job for job in jobs if job.task is not leader]
                return self._sampled(others) if others else iter(())
            for task, _ in _by_task(jobs):
                self._fail(task, error)
            return iter(())
        return ((jobs[row.row], row) for row in made)

    def _begun(self, jobs: Sequence[_Job]) -> list[_Job]:
        """Tell tasks that these of their images begin; those that are wanted still."""
        begun = []
        for task, own in _by_task(jobs):
            while own and task in self._open:
                try:
                    task.begin([job.plan for job in own])
                    for job in own:
                        _expand(job)
                except ImageSkipped:
                    own = own[1:]  # noqa: PLW2901
                    self._resolve(task)
                except Exception as error:  # noqa: BLE001 - its companions go on
                    self._fail_alone(task, error)
                else:
                    begun += own
                    break
        return begun

    def _step(self, job: _Job, on_step: OnStep, index: int, denoised: Tensor) -> None:
        """As ``OnStep``, of one image."""
        try:
            if job.task not in self._open:
                raise TaskAborted(_OVER)
            on_step(index, denoised)
        except ImageSkipped:
            job.has_left = True
            self._resolve(job.task)
            raise
        except PipelineError as error:
            job.has_left = True
            self._fail(job.task, error)
            raise

    def _finish(self, job: _Job, made: MadeRow) -> None:
        task = job.task
        if task not in self._open:
            return
        try:
            task.finish(made.image, msgspec.structs.replace(job.plan, engine=made.engine))
        except ImageSkipped:
            pass
        except Exception as error:  # noqa: BLE001 - its companions go on
            self._fail_alone(task, error)
        self._resolve(task)

    def _resolve(self, task: TaskRun) -> None:
        """One image less is to come; the last one ends its task."""
        if task in self._open:
            self._open[task] -= 1
            if not self._open[task]:
                self._end(task)

    def _end(self, task: TaskRun) -> None:
        try:
            task.end()
        except Exception as error:  # noqa: BLE001 - its companions go on
            self._fail_alone(task, error)
        else:
            del self._open[task]
            self._ended(task, None)

    def _fail_alone(self, task: TaskRun, error: Exception) -> None:
        """End a task by what it raised at its own work, unless it is the last one: what is no
        PipelineError is then raised. A broken device so shows itself in the last one at the latest.
        """
        if isinstance(error, PipelineError):
            self._fail(task, error)
            return
        if set(self._open) <= {task}:
            raise error
        log.error("task %s: an unexpected error", task.task_id, exc_info=error)
        lacks_memory = isinstance(error, MemoryError | RuntimeError) and is_out_of_memory(error)
        told = DeviceOutOfMemory(OUT_OF_MEMORY) if lacks_memory else InternalError(INTERNAL)
        self._fail(task, told)

    def _fail(self, task: TaskRun, error: PipelineError) -> None:
        if self._open.pop(task, None) is not None:
            self._ended(task, error)


def _may_share(first: _Job, other: _Job) -> bool:
    """Whether two images may be made in one run. Those of different tasks do not where one starts
    from images: each task has its own."""
    same_start = first.task is other.task or (first.task.is_free and other.task.is_free)
    return same_start and shared_plan(first.plan) == shared_plan(other.plan)


def _by_task(jobs: Sequence[_Job]) -> Iterator[tuple[TaskRun, list[_Job]]]:
    for task, own in groupby(jobs, lambda job: job.task):
        yield task, list(own)


def _expand(job: _Job) -> None:
    """Continue the plan's prompt, unless a run that ran out of memory had it done."""
    if not job.is_expanded:
        job.plan, job.is_expanded = job.task.expanded(job.plan), True


def _log(jobs: Sequence[_Job], seconds: float) -> None:
    plan = jobs[0].plan
    width, height = plan.size.native
    log.info(
        "%s: %d images of %dx%d, %d steps, %.2f s",
        ", ".join(f"task {task.task_id}" for task, _ in _by_task(jobs)),
        len(jobs),
        width,
        height,
        plan.sampling.steps,
        seconds,
    )
