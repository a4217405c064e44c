"""Which worker gets which task: loaded models, draining, workers that join and leave."""

import asyncio
import time
from collections.abc import Callable
from fractions import Fraction

from pipeline.scheduling.engine_protocol import Inputs, LoadedModel
from pipeline.scheduling.local_worker import LocalWorker
from pipeline.scheduling.pool import WorkerPool
from pipeline.scheduling.queue import Waiting
from pipeline.scheduling.task import Reporter, Task
from pipeline.scheduling.task_queue import PASS_S, TaskQueue
from pipeline.scheduling.worker import DeviceState
from tests.unit.scheduling import Gate, draw, entered, house, make_task, within


class Holder:
    """An engine with one model loaded, which it changes with its task's."""

    def __init__(self, model: str, gate: Gate | None = None) -> None:
        self.model = model
        self.tasks: list[str] = []
        self.gate = gate

    def __call__(self, task: Task, reporter: Reporter, inputs: Inputs) -> None:
        self.model = task.params.base_model_name
        self.tasks.append(task.task_id)
        if self.gate is not None:
            self.gate.hold(reporter)
        draw(task, reporter, inputs)

    def loaded(self) -> tuple[LoadedModel, ...]:
        """The model."""
        return (LoadedModel(kind="checkpoint", name=self.model, seconds=1.0, since_mills=1),)

    def release(self) -> tuple[str, ...]:
        """It stays."""
        return ()


def queue_of(
    *entries: tuple[str, str, int], clock: Callable[[], float] = time.monotonic
) -> TaskQueue:
    """Waiting tasks by name, model and priority."""
    queue = TaskQueue(clock=clock)
    for order, (name, model, priority) in enumerate(entries):
        task = make_task(name, base_model_name=model)
        queue.put_nowait(Waiting(task=task, order=Fraction(order), priority=priority))
    return queue


def has_x(task: Task) -> bool:
    return task.params.base_model_name == "x"


async def test_a_task_goes_to_the_worker_that_has_its_model() -> None:
    first, second = Holder("x"), Holder("y")
    devices = {"a": lambda _: first, "b": lambda _: second}
    async with house(devices=devices) as built:
        await built.states("ready", "ready")
        for name, model in (("one", "y"), ("two", "y"), ("three", "x")):
            built.executor.submit(make_task(name, base_model_name=model))
            await built.ended(name)
    assert (first.tasks, second.tasks) == (["three"], ["one", "two"])


async def test_a_prepared_task_passes_others_of_its_priority() -> None:
    queue = queue_of(("one", "y", 0), ("two", "x", 0), ("three", "x", 0))
    assert [(await queue.take(has_x)).task.task_id for _ in range(3)] == ["two", "three", "one"]


async def test_no_task_is_passed_for_longer_than_the_bound() -> None:
    clock = iter([0.0, PASS_S - 0.1, PASS_S])
    entries = [("one", "y", 0), *((f"x{n}", "x", 0) for n in range(5))]
    queue = queue_of(*entries, clock=lambda: next(clock))
    taken = [(await queue.take(has_x)).task.task_id for _ in range(3)]
    assert taken == ["x0", "x1", "one"]


async def test_a_prepared_task_passes_none_of_a_higher_priority() -> None:
    queue = queue_of(("high", "y", 1), ("low", "x", 0))
    assert (await queue.take(has_x)).task.task_id == "high"


async def test_with_one_worker_the_order_is_kept() -> None:
    only = Holder("x")
    async with house(only) as built:
        await built.states("ready")
        built.executor.pause()
        for name, model in (("one", "y"), ("two", "x")):
            built.executor.submit(make_task(name, base_model_name=model))
        built.executor.resume()
        await built.ended("two")
    assert only.tasks == ["one", "two"]


async def test_a_drained_worker_ends_its_task_and_takes_no_other() -> None:
    gate = Gate()
    first, second = Holder("x", gate), Holder("y")
    async with house(devices={"a": lambda _: first, "b": lambda _: second}) as built:
        await built.states("ready", "ready")
        built.executor.submit(make_task("one", base_model_name="x"))
        await entered(gate)
        assert built.executor.drain("a", is_draining=True)
        built.executor.submit(make_task("two", base_model_name="y"))
        await built.ended("two")
        gate.leave.set()
        await built.ended("one")
        built.executor.submit(make_task("three", base_model_name="x"))
        await built.ended("three")
        assert (first.tasks, second.tasks) == (["one"], ["two", "three"])
        info = {each.id: each for each in built.executor.workers()}
        assert (info["a"].draining, info["a"].pictures) == (True, 1)
        assert (info["b"].draining, info["b"].pictures) == (False, 2)
        assert not built.executor.drain("c", is_draining=True)


class Joining:
    """A ``WorkerSource`` whose one worker comes and goes as the test says."""

    def __init__(self) -> None:
        self.state: DeviceState | None = DeviceState(name="cluster")
        self.join, self.leave = asyncio.Event(), asyncio.Event()
        self.worker = LocalWorker("late", lambda _sink: draw)
        self.is_closed = False

    async def keep(self, pool: WorkerPool) -> None:
        """As ``WorkerSource.keep``."""
        await self.join.wait()
        self.state = None
        pool.add(self.worker)
        await self.leave.wait()
        pool.remove(self.worker)
        await asyncio.Event().wait()

    async def close(self) -> None:
        """As ``WorkerSource.close``."""
        self.is_closed = True


async def test_workers_join_and_leave_while_tasks_wait() -> None:
    source = Joining()
    async with house(devices={"a": lambda _: draw}, source=source) as built:
        assert [each.name for each in built.executor.devices()] == ["a", "cluster"]
        built.executor.drain("a", is_draining=True)
        built.executor.submit(make_task("one"))
        source.join.set()
        assert (await built.ended("one")).status == "finished"
        await within(built.states("ready", "ready"))
        assert [each.name for each in built.executor.devices()] == ["a", "late"]
        source.leave.set()
        await within(built.states("ready"))
        built.executor.drain("a", is_draining=False)
        built.executor.submit(make_task("two"))
        assert (await built.ended("two")).status == "finished"
    assert source.is_closed
