"""Waiting tasks that are made together: which join, in which order, and how each of them ends."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from bus.events import TERMINAL
from pipeline.errors import InvalidModelFile, PipelineError, WorkerLost
from pipeline.request.delivery import Delivery
from pipeline.request.resolved import ResolvedRequest
from pipeline.scheduling.engine_protocol import Inputs, TaskEnded, TaskJob
from pipeline.scheduling.key_limits import KeyLimits
from pipeline.scheduling.task import Reporter, Task
from tests.unit.scheduling import WAIT_S, House, draw, house, make_task, read_until_ends

LIMIT = 4


class BatchEngine:
    """Makes tasks together, and keeps their names. The first call waits until ``go`` is set."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.turns: list[list[str]] = []
        self.go = threading.Event()
        self.entered = threading.Event()
        self.errors: dict[str, PipelineError] = {}  # of single tasks
        self.deadly: set[str] = set()  # tasks that end the worker, with all that run beside them
        self.priorities: dict[str, int] = {}  # that tasks get while they wait
        self.before_tasks: Callable[[], object] = lambda: None  # runs before tasks made together
        self._limit = limit

    def images_together(self, request: ResolvedRequest) -> int:
        """As ``MakesBatches``."""
        return self._limit

    def __call__(self, task: Task, reporter: Reporter, inputs: Inputs) -> None:
        self._begin([task])
        draw(task, reporter, inputs)

    def run_together(self, jobs: Sequence[TaskJob], ended: TaskEnded) -> None:
        """As ``MakesBatches``; tasks end in the opposite order."""
        self._begin([job.task for job in jobs])
        self.before_tasks()
        for index, job in reversed(list(enumerate(jobs))):
            try:
                job.reporter.check()
                if error := self.errors.get(job.task.task_id):
                    raise error
                draw(*job)
            except PipelineError as error:
                ended(index, error)
            else:
                ended(index, None)

    def _begin(self, tasks: Sequence[Task]) -> None:
        names = [task.task_id for task in tasks]
        self.turns.append(names)
        self.entered.set()
        assert self.go.wait(WAIT_S)
        if self.deadly & set(names):
            raise WorkerLost("the device is gone")


async def run_all(built: House, engine: BatchEngine, *tasks: Task) -> list[str]:
    """Submit a task that has no companion, then these while it runs; their names as they end."""
    with built.bus.subscribe() as subscription:
        built.executor.submit(make_task("first", sharpness=9.0))
        assert await asyncio.to_thread(engine.entered.wait, WAIT_S)
        for task in tasks:
            built.executor.submit(task)
        for task_id, priority in engine.priorities.items():
            built.executor.prioritise(task_id, priority)
        engine.go.set()
        events = await read_until_ends(subscription, 1 + len(tasks))
    return [name for name, data in events if isinstance(data, TERMINAL)]


def of_key(task: Task, key: str) -> Task:
    return msgspec.structs.replace(task, delivery=Delivery(key=key))


async def test_waiting_tasks_that_differ_in_words_and_seeds_are_made_together() -> None:
    engine = BatchEngine()
    async with house(engine) as built:
        tasks = [make_task(name, prompt=name, image_seed=3) for name in "abcdef"]
        ends = await run_all(built, engine, *tasks)
    assert engine.turns == [["first"], ["a", "b", "c", "d"], ["e", "f"]]
    assert sorted(ends) == ["a", "b", "c", "d", "e", "f", "first"]
    assert [outcome.status for _, outcome in built.rows] == ["finished"] * 7


@pytest.mark.parametrize(
    "other",
    [
        {"sharpness": 3.0},
        {"overwrite_step": 5},
        {"sampler_name": "euler"},
        {"base_model_name": "another.safetensors"},
        {"aspect_ratios_selection": "1024*1024"},
        {"images": 4},
    ],
)
async def test_a_task_of_another_kind_waits_for_its_own_turn(other: dict[str, Any]) -> None:
    engine = BatchEngine()
    async with house(engine) as built:
        await run_all(built, engine, make_task("a"), make_task("b", **other), make_task("c"))
    assert engine.turns == [["first"], ["a", "c"], ["b"]]


async def test_images_are_counted_not_tasks() -> None:
    engine = BatchEngine()
    async with house(engine) as built:
        tasks = [make_task(name, images=2) for name in "abc"]
        await run_all(built, engine, *tasks)
    assert engine.turns == [["first"], ["a", "b"], ["c"]]


async def test_no_task_passes_one_of_a_higher_priority() -> None:
    engine = BatchEngine()
    engine.priorities = {"high": 2, "higher": 2, "middle": 1}
    async with house(engine) as built:
        tasks = [make_task("low"), make_task("high"), make_task("higher")]
        await run_all(built, engine, *tasks, make_task("middle", sharpness=3.0))
    assert engine.turns == [["first"], ["high", "higher"], ["middle"], ["low"]]


async def test_a_task_that_is_passed_has_the_next_turn() -> None:
    engine = BatchEngine(limit=2)
    async with house(engine) as built:
        alike = [make_task(name) for name in "acdef"]
        await run_all(built, engine, alike[0], make_task("b", sharpness=3.0), *alike[1:])
    assert engine.turns == [["first"], ["a", "c"], ["b"], ["d", "e"], ["f"]]


async def test_a_key_s_limit_of_running_tasks_holds_for_companions() -> None:
    engine = BatchEngine()
    async with house(engine, key_limits={"k": KeyLimits(running=2)}) as built:
        await run_all(built, engine, *(of_key(make_task(name), "k") for name in "abc"))
    assert engine.turns == [["first"], ["a", "b"], ["c"]]


async def test_free_workers_share_the_tasks() -> None:
    one, two = BatchEngine(limit=9), BatchEngine(limit=9)
    one.go.set()
    two.go.set()
    async with house(devices={"one": lambda _sink: one, "two": lambda _sink: two}) as built:
        await built.states("ready", "ready")
        with built.bus.subscribe() as subscription:
            built.executor.pause()
            for name in "abcdefgh":
                built.executor.submit(make_task(name))
            built.executor.resume()
            await read_until_ends(subscription, 8)
    assert len(one.turns[0]) == 5  # itself, and half of those that could join it
    assert two.turns[0] == ["f", "g", "h"]


async def test_what_ends_one_task_does_not_end_its_companions() -> None:
    engine = BatchEngine()
    engine.errors = {"b": InvalidModelFile("broken")}
    async with house(engine) as built:
        await run_all(built, engine, *(make_task(name) for name in "abc"))
    statuses = {name: outcome.status for name, outcome in built.rows}
    assert statuses == {"first": "finished", "a": "finished", "b": "failed", "c": "finished"}


async def test_a_stop_without_a_name_ends_the_first_of_those_made_together() -> None:
    engine = BatchEngine()
    async with house(engine) as built:
        with built.bus.subscribe() as subscription:
            built.executor.submit(make_task("first", sharpness=9.0))
            assert await asyncio.to_thread(engine.entered.wait, WAIT_S)
            for name in "abc":
                built.executor.submit(make_task(name))
            loop, stop = asyncio.get_running_loop(), built.executor.stop
            engine.before_tasks = lambda: asyncio.run_coroutine_threadsafe(stop(), loop).result(
                WAIT_S
            )
            engine.go.set()
            await read_until_ends(subscription, 4)
    statuses = {name: outcome.status for name, outcome in built.rows}
    assert statuses == {"first": "finished", "a": "stop", "b": "finished", "c": "finished"}


async def test_a_task_stopped_while_its_companion_is_prepared_never_runs() -> None:
    engine = BatchEngine()
    async with house(engine) as built:
        begin = built.attempts.begin

        async def begin_after_the_stop(task_id: str) -> int:
            if task_id == "b":  # "a" is prepared by then, and waits for it
                assert await built.executor.stop("a")
            return await begin(task_id)

        built.attempts.begin = begin_after_the_stop  # type: ignore[method-assign]
        await run_all(built, engine, make_task("a"), make_task("b"))
    assert engine.turns == [["first"], ["b"]]
    statuses = {name: outcome.status for name, outcome in built.rows}
    assert statuses == {"first": "finished", "a": "stop", "b": "finished"}


async def test_a_task_stopped_while_it_is_set_apart_does_not_come_back() -> None:
    engine = BatchEngine()
    async with house(engine) as built:
        await built.attempts.begin("b")
        forgive = built.attempts.forgive

        async def forgive_after_the_stop(task_id: str) -> None:
            assert await built.executor.stop("b")
            await forgive(task_id)

        built.attempts.forgive = forgive_after_the_stop  # type: ignore[method-assign]
        await run_all(built, engine, make_task("a"), make_task("b"))
    assert engine.turns == [["first"], ["a"]]
    assert dict(built.rows)["b"].status == "stop"


async def test_tasks_that_lose_their_worker_together_run_alone_the_next_time() -> None:
    engine = BatchEngine()
    engine.deadly = {"b"}
    async with house(engine) as built:
        await run_all(built, engine, *(make_task(name) for name in "abcd"))
    assert engine.turns[:2] == [["first"], ["a", "b", "c", "d"]]
    assert sorted(engine.turns[2:]) == [["a"], ["b"], ["c"], ["d"]]
    statuses = {name: outcome.status for name, outcome in built.rows}
    assert statuses == {name: "failed" if name == "b" else "finished" for name in statuses}


async def test_tasks_that_a_crash_ended_together_run_alone_after_the_restart() -> None:
    engine = BatchEngine()
    async with house(engine) as built:
        for name in "abc":
            await built.attempts.begin(name)
        await run_all(built, engine, *(make_task(name) for name in "abcd"))
    assert [turn for turn in engine.turns[1:] if len(turn) > 1] == []
    assert sorted(engine.turns[1:]) == [["a"], ["b"], ["c"], ["d"]]
    assert [outcome.status for _, outcome in built.rows] == ["finished"] * 5


async def test_a_worker_that_makes_one_task_at_a_time_gets_one() -> None:
    engine = BatchEngine()

    def one(task: Task, reporter: Reporter, inputs: Inputs) -> None:
        engine(task, reporter, inputs)

    async with house(one) as built:
        await run_all(built, engine, make_task("a"), make_task("b"))
    assert engine.turns == [["first"], ["a"], ["b"]]


async def test_a_device_that_does_not_answer_how_much_fits_gets_one_task() -> None:
    class Broken(BatchEngine):
        def images_together(self, request: ResolvedRequest) -> int:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    engine = Broken()
    async with house(engine) as built:
        await run_all(built, engine, make_task("a"), make_task("b"))
    assert engine.turns == [["first"], ["a"], ["b"]]


async def test_a_task_that_the_engine_forgets_fails() -> None:
    class Forgetful(BatchEngine):
        def run_together(self, jobs: Sequence[TaskJob], ended: TaskEnded) -> None:
            super().run_together(jobs[:1], ended)

    engine = Forgetful()
    async with house(engine) as built:
        await run_all(built, engine, make_task("a"), make_task("b"))
    statuses = {name: (outcome.status, outcome.code) for name, outcome in built.rows}
    assert statuses["a"] == ("finished", "")
    assert statuses["b"] == ("failed", "internal")
