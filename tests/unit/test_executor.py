"""Queue, dispatcher and device thread: order, ends, stops, failures and shutdown."""

import asyncio
from fractions import Fraction

import pytest

from bus.events import (
    TERMINAL,
    QueueChanged,
    TaskFailed,
    TaskFinished,
    TaskImage,
    TaskProgress,
    TaskQueued,
    TaskSkipped,
    TaskStopped,
)
from bus.subscription import Subscription
from pipeline.errors import ImageSkipped, PipelineError, QueueFull, ServerStopping
from pipeline.scheduling.engine_protocol import Inputs
from pipeline.scheduling.executor import Executor
from pipeline.scheduling.queue import Waiting
from pipeline.scheduling.task import Reporter, Task
from tests.unit.scheduling import (
    WAIT_S,
    Gate,
    draw,
    entered,
    house,
    make_image,
    make_task,
    read_until_ends,
    within,
)


async def test_tasks_run_in_order_and_each_ends_exactly_once() -> None:
    async with house() as built:
        with built.bus.subscribe() as subscription:
            for name in "abc":
                built.executor.submit(make_task(name))
            events = await read_until_ends(subscription, 3)
    ends = [name for name, data in events if isinstance(data, TERMINAL)]
    assert ends == ["a", "b", "c"]
    assert [name for name, _ in built.rows] == ["a", "b", "c"]


async def test_the_row_is_closed_before_anybody_hears_of_the_end() -> None:
    async with house() as built:
        with built.bus.subscribe() as subscription:
            built.executor.submit(make_task("a"))
            async for event in subscription:
                if isinstance(event.data, TaskFinished):
                    assert built.rows
                    break


class QueueClient:
    """A client that knows the queue from ``queue.changed`` alone, as docs/events.md says."""

    def __init__(self, executor: Executor) -> None:
        self.ids = [entry.task.task_id for entry in executor.waiting()]
        self.revision = executor.queue_revision
        self.running = 0

    def hear(self, subscription: Subscription) -> None:
        for event in subscription.take_now():
            if not isinstance(changed := event.data, QueueChanged):
                continue
            self.running = changed.running
            if changed.revision == self.revision:
                continue
            assert changed.revision == self.revision + 1
            self.revision = changed.revision
            assert changed.change is not None
            if changed.change.before is not None:
                assert self.ids.pop(changed.change.before) == changed.change.task_id
            if changed.change.after is not None:
                self.ids.insert(changed.change.after, changed.change.task_id)
            assert len(self.ids) == changed.pending


async def test_a_client_learns_every_place_from_the_changes_of_the_queue() -> None:
    gates = {name: Gate() for name in "abcd"}
    async with house(lambda task, reporter, _inputs: gates[task.task_id].hold(reporter)) as built:
        executor = built.executor
        client = QueueClient(executor)
        with built.bus.subscribe() as subscription:

            async def expect(order: str) -> None:
                await asyncio.sleep(0)  # for the bus to deliver
                client.hear(subscription)
                assert "".join(client.ids) == order
                for place, name in enumerate(order):
                    assert executor.position(name) == place + client.running

            executor.submit(make_task("a"))
            await expect("a")
            await entered(gates["a"])
            await expect("")
            for name, order in (("b", "b"), ("c", "bc"), ("d", "bcd")):
                executor.submit(make_task(name))
                await expect(order)
            assert executor.move("d", 0)
            await expect("dbc")
            assert executor.prioritise("c", 1)
            await expect("cdb")
            assert await executor.stop("d")
            await expect("cb")
            gates["a"].leave.set()
            await entered(gates["c"])
            await expect("b")
            assert client.running == 1
            for gate in gates.values():
                gate.leave.set()


async def test_a_task_is_told_to_be_queued_once_however_the_queue_moves() -> None:
    gate = Gate()
    async with house(lambda _task, reporter, _inputs: gate.hold(reporter)) as built:
        with built.bus.subscribe() as subscription:
            for name in "abc":
                built.executor.submit(make_task(name))
            await entered(gate)
            built.executor.move("c", 0)
            assert await built.executor.stop("b")
            gate.leave.set()
            events = await read_until_ends(subscription, 3)
    queued = [(name, data.position) for name, data in events if isinstance(data, TaskQueued)]
    assert queued == [("a", 0), ("b", 1), ("c", 2)]


async def test_restored_tasks_run_as_they_were_arranged_and_are_one_event() -> None:
    gate = Gate()
    async with house(lambda _task, reporter, _inputs: gate.hold(reporter)) as built:
        with built.bus.subscribe() as subscription:
            order = {"a": 2, "b": 3, "c": 1}
            built.executor.pause()
            built.executor.restore(
                Waiting(task=make_task(name), order=Fraction(rank)) for name, rank in order.items()
            )
            await asyncio.sleep(0)
            told = [event.data for event in subscription.take_now()]
            built.executor.resume()
            gate.leave.set()
            events = await read_until_ends(subscription, 3)
    assert [(type(data), data.pending) for data in told if isinstance(data, QueueChanged)] == [
        (QueueChanged, 3)
    ]
    assert not any(isinstance(data, TaskQueued) for data in told)
    assert [name for name, data in events if isinstance(data, TERMINAL)] == ["c", "a", "b"]


async def test_stopping_a_waiting_task_ends_it_at_once_and_twice_is_harmless() -> None:
    gate = Gate()
    async with house(lambda _task, reporter, _inputs: gate.hold(reporter)) as built:
        built.executor.submit(make_task("a"))
        built.executor.submit(make_task("b"))
        await entered(gate)
        assert await built.executor.stop("b")
        assert not await built.executor.stop("b")
        gate.leave.set()
    assert ("b", "stop") in [(name, outcome.status) for name, outcome in built.rows]


async def test_stopping_the_running_task_ends_it_and_the_next_one_runs() -> None:
    gate = Gate()

    def generate(task: Task, reporter: Reporter, inputs: Inputs) -> None:
        if task.task_id == "a":
            gate.hold(reporter)
        draw(task, reporter, inputs)

    async with house(generate) as built:
        with built.bus.subscribe() as subscription:
            built.executor.submit(make_task("a"))
            built.executor.submit(make_task("b"))
            await entered(gate)
            assert await built.executor.stop()
            events = await read_until_ends(subscription, 2)
    ends = [data for _, data in events if isinstance(data, TERMINAL)]
    assert isinstance(ends[0], TaskStopped)
    assert isinstance(ends[1], TaskFinished)


async def test_skipping_leaves_out_one_picture_and_goes_on() -> None:
    gate = Gate()

    def generate(task: Task, reporter: Reporter, inputs: Inputs) -> None:
        for number in range(task.params.image_number):
            reporter.begin_image(number + 1, task.params.image_number)
            try:
                if number == 0:
                    gate.hold(reporter)
                reporter.image(make_image(number))
            except ImageSkipped:
                continue

    async with house(generate) as built:
        built.executor.submit(make_task("a", images=3))
        await entered(gate)
        assert built.executor.skip("a")
        outcome = await within(built.executor.wait("a"))
    assert (outcome.status, outcome.images) == ("finished", ("/outputs/1.png", "/outputs/2.png"))


async def test_a_task_whose_every_picture_was_skipped_ends_as_skipped() -> None:
    gate = Gate()

    def generate(task: Task, reporter: Reporter, inputs: Inputs) -> None:
        try:
            gate.hold(reporter)
        except ImageSkipped:
            return

    async with house(generate) as built:
        with built.bus.subscribe() as subscription:
            built.executor.submit(make_task("a"))
            await entered(gate)
            built.executor.skip()
            events = await read_until_ends(subscription, 1)
    assert isinstance(events[-1][1], TaskSkipped)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PipelineError("no"), "pipeline_error"),
        (MemoryError(), "out_of_memory"),
        (ZeroDivisionError("secret detail"), "internal"),
    ],
)
async def test_a_failing_task_says_why_and_the_thread_lives_on(error: Exception, code: str) -> None:
    def generate(task: Task, reporter: Reporter, inputs: Inputs) -> None:
        if task.task_id == "a":
            raise error
        draw(task, reporter, inputs)

    async with house(generate) as built:
        with built.bus.subscribe() as subscription:
            built.executor.submit(make_task("a"))
            built.executor.submit(make_task("b"))
            events = await read_until_ends(subscription, 2)
    failed, finished = [data for _, data in events if isinstance(data, TERMINAL)]
    assert isinstance(failed, TaskFailed)
    assert failed.code == code
    assert "secret" not in failed.error
    assert isinstance(finished, TaskFinished)


async def test_a_row_that_cannot_be_closed_does_not_stop_the_queue() -> None:
    def refuse() -> None:
        raise OSError("disk full")

    async with house(on_ended=refuse) as built:
        for name in "ab":
            built.executor.submit(make_task(name))
            assert (await within(built.executor.wait(name))).status == "finished"


async def test_a_full_queue_refuses_before_anything_is_written() -> None:
    gate = Gate()
    async with house(lambda _task, reporter, _inputs: gate.hold(reporter), limit=2) as built:
        built.executor.submit(make_task("a"))
        await entered(gate)
        built.executor.submit(make_task("b"))
        with built.executor.reserve(), pytest.raises(QueueFull), built.executor.reserve():
            pass
        gate.leave.set()


async def test_closing_keeps_aborted_and_waiting_tasks_for_the_next_start() -> None:
    gate = Gate()

    def generate(task: Task, reporter: Reporter, inputs: Inputs) -> None:
        reporter.image(make_image())
        gate.hold(reporter)

    async with house(generate) as built:
        built.executor.submit(make_task("a"))
        built.executor.submit(make_task("b"))
        await entered(gate)
        waiting = asyncio.create_task(built.executor.wait("a"))
        await asyncio.sleep(0)
        await within(built.executor.close(grace_s=0.1))
        with pytest.raises(ServerStopping):
            await within(waiting)
        with pytest.raises(ServerStopping), built.executor.reserve():
            pass
    assert built.rows == []
    assert built.images.kept == []  # the task will make its pictures anew


async def test_closing_waits_for_the_running_task_while_there_is_time() -> None:
    gate = Gate()

    def generate(task: Task, reporter: Reporter, inputs: Inputs) -> None:
        gate.hold(reporter)
        draw(task, reporter, inputs)

    async with house(generate) as built:
        built.executor.submit(make_task("a"))
        await entered(gate)
        closing = asyncio.create_task(built.executor.close(grace_s=WAIT_S))
        await asyncio.sleep(0)
        gate.leave.set()
        await within(closing)
    assert [(name, outcome.status) for name, outcome in built.rows] == [("a", "finished")]


async def test_pictures_are_told_at_the_end_where_intermediate_results_are_unwanted() -> None:
    gate = Gate()

    def generate(task: Task, reporter: Reporter, inputs: Inputs) -> None:
        reporter.image(make_image())
        gate.hold(reporter)

    async with house(generate) as built:
        with built.bus.subscribe() as subscription:
            built.executor.submit(make_task("a", disable_intermediate_results=True))
            await entered(gate)
            early = subscription.take_now()
            gate.leave.set()
            events = await read_until_ends(subscription, 1)
    assert not any(isinstance(event.data, TaskImage) for event in early)
    kinds = [type(data) for _, data in events if isinstance(data, (TaskImage, TaskFinished))]
    assert kinds == [TaskImage, TaskFinished]


async def test_progress_never_falls() -> None:
    def generate(task: Task, reporter: Reporter, inputs: Inputs) -> None:
        for percent in (2, 50, 13, 101):
            reporter.progress(percent, "working")
        draw(task, reporter, inputs)

    async with house(generate) as built:
        with built.bus.subscribe() as subscription:
            built.executor.submit(make_task("a"))
            events = await read_until_ends(subscription, 1)
    told = [data.progress for _, data in events if isinstance(data, TaskProgress)]
    assert told == sorted(told)
    assert max(told, default=0) <= 100
    assert any(isinstance(data, TaskImage) for _, data in events)
