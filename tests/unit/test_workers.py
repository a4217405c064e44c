"""More than one worker: who gets what, and what happens when one fails, dies or comes back."""

import asyncio

import msgspec
import pytest

from bus.events import (
    ModelLoaded,
    ServerStatus,
    TaskQueued,
    TaskStarted,
)
from bus.supervision import Backoff
from pipeline.errors import PipelineError
from pipeline.request.delivery import Delivery
from pipeline.scheduling.dispatch import RUN_LIMIT
from pipeline.scheduling.engine_protocol import Inputs, LoadedModel
from pipeline.scheduling.key_limits import KeyLimits
from pipeline.scheduling.local_worker import BuildEngine
from pipeline.scheduling.pool import WorkerPool
from pipeline.scheduling.task import Reporter, Task
from pipeline.scheduling.worker import Worker
from pipeline.scheduling.worker_events import Sink
from tests.unit.failing_devices import Device, MortalDevice, fails, started
from tests.unit.scheduling import (
    NEVER,
    Gate,
    draw,
    entered,
    house,
    make_task,
    read_until_ends,
    within,
)


async def test_two_devices_work_at_once_and_a_stop_without_a_name_ends_both() -> None:
    first, second = Device(), Device()
    async with house(devices={"a": lambda _: first, "b": lambda _: second}) as built:
        await started(built, "a", "b")
        for name in ("one", "two", "three"):
            built.executor.submit(make_task(name))
        await entered(first.gate)
        await entered(second.gate)
        assert {running.device for running in built.executor.running()} == {"a", "b"}
        assert await built.executor.stop()
        assert [(await built.ended(name)).status for name in ("one", "two")] == ["stop", "stop"]
        first.gate.leave.set()
        second.gate.leave.set()
        assert (await built.ended("three")).status == "finished"


async def test_closing_aborts_the_device_at_work_and_waits_for_no_idle_one() -> None:
    first, second = Device(), Device()
    async with house(devices={"a": lambda _: first, "b": lambda _: second}) as built:
        await started(built, "a", "b")
        built.executor.submit(make_task("one"))
        await asyncio.to_thread(lambda: first.gate.entered.wait(1) or second.gate.entered.wait(1))
        await within(built.executor.close(grace_s=0.0))
        assert built.executor.running() == ()
    assert (built.rows, built.images.kept) == ([], [])


async def test_a_device_that_did_not_start_takes_nothing_while_another_is_ready() -> None:
    devices = {"cpu": lambda _: draw, "cuda": fails(PipelineError("this machine has no 'cuda'"))}
    async with house(devices=devices, backoff=NEVER) as built:
        await built.states("ready", "failed")
        names = [f"t{number}" for number in range(20)]
        for name in names:
            built.executor.submit(make_task(name))
        assert {(await built.ended(name)).status for name in names} == {"finished"}
        cuda = built.executor.devices()[1]
        assert (cuda.name, cuda.error) == ("cuda", "this machine has no 'cuda'")


async def test_without_a_ready_device_tasks_wait_and_run_once_it_has_started() -> None:
    devices = {"cpu": fails(PipelineError("no such device"), times=3)}
    async with house(devices=devices) as built:
        with built.bus.subscribe(since=0) as events:
            built.executor.submit(make_task("one"))
            assert (await built.ended("one")).status == "finished"
            told = [delivery.data for delivery in events.take_now()]
    states = [(data.status, data.detail) for data in told if isinstance(data, ServerStatus)]
    assert states == [("starting", ""), ("degraded", "no such device"), ("ready", "")]


async def test_a_failed_device_is_started_again_after_growing_pauses() -> None:
    pauses: list[float] = []

    class Recorded(Backoff, frozen=True, kw_only=True):
        def pause(self, failures: int) -> float:
            pauses.append(super().pause(failures))
            return 0.0

    devices = {"cpu": fails(PipelineError("no such device"), times=4)}
    async with house(devices=devices, backoff=Recorded(first_s=1.0, limit_s=5.0)) as built:
        await built.states("ready")
    assert pauses == [1.0, 2.0, 4.0, 5.0]


async def test_a_task_whose_device_dies_runs_again_elsewhere_and_ends_once() -> None:
    mortal = MortalDevice({"one"})
    other = Device()
    other.gate.leave.set()
    devices: dict[str, BuildEngine] = {"a": lambda _: mortal, "b": lambda _: other}
    async with house(devices=devices, backoff=NEVER) as built:
        await started(built, "a", "b")
        with built.bus.subscribe() as events:
            built.executor.submit(make_task("one"))
            outcome = await built.ended("one")
            told = await read_until_ends(events, 1)
        assert (outcome.status, outcome.images) == ("finished", ("/outputs/0.png",))
        assert [device.state for device in built.executor.devices()] == ["failed", "ready"]
        assert "illegal memory access" in built.executor.devices()[0].error
    devices_told = [data.device for _, data in told if isinstance(data, TaskStarted)]
    assert devices_told == ["a", "b"]
    assert any(isinstance(data, TaskQueued) for _, data in told)
    assert built.images.kept == ["/outputs/0.png"]  # that of the first run is gone
    assert [name for name, _ in built.rows] == ["one"]


async def test_a_task_that_takes_its_device_down_twice_fails_for_good() -> None:
    devices: dict[str, BuildEngine] = {
        "a": lambda _: MortalDevice({"deadly"}),
        "b": lambda _: MortalDevice({"deadly"}),
    }
    async with house(devices=devices) as built:
        for name in ("deadly", "harmless", "another"):
            built.executor.submit(make_task(name))
        ends = {name: await built.ended(name) for name in ("deadly", "harmless", "another")}
    assert (ends["deadly"].status, ends["deadly"].code) == ("failed", "worker_lost")
    assert {ends[name].status for name in ("harmless", "another")} == {"finished"}


async def test_a_task_that_took_the_server_down_before_is_not_run_again() -> None:
    device = Device()
    device.gate.leave.set()
    async with house(device) as built:
        for _ in range(RUN_LIMIT):
            await built.attempts.begin("deadly")
        built.executor.submit(make_task("deadly"))
        built.executor.submit(make_task("harmless"))
        outcome = await built.ended("deadly")
        assert (outcome.status, outcome.code) == ("failed", "worker_lost")
        assert (await built.ended("harmless")).status == "finished"
        assert device.tasks == ["harmless"]


async def test_a_task_that_the_shutdown_broke_off_has_not_taken_anything_down() -> None:
    device = Device()
    async with house(device) as built:
        built.executor.submit(make_task("one"))
        await entered(device.gate)
        await within(built.executor.close(grace_s=0.0))
        assert await built.attempts.begin("one") == 1


async def test_a_stopped_task_is_not_run_again_when_its_device_dies() -> None:
    gate = Gate()

    class Stubborn(MortalDevice):
        def __call__(self, task: Task, reporter: Reporter, inputs: Inputs) -> None:
            gate.entered.set()
            assert gate.leave.wait(5.0)
            super().__call__(task, reporter, inputs)

    async with house(devices={"cpu": lambda _: Stubborn({"one"})}) as built:
        built.executor.submit(make_task("one"))
        await entered(gate)
        assert await built.executor.stop("one")
        gate.leave.set()
        outcome = await built.ended("one")
    assert outcome.status == "stop"
    assert [name for name, _ in built.rows] == ["one"]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), BaseException("odd")])
async def test_whatever_is_raised_on_the_device_thread_ends_the_task_and_not_the_queue(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def generate(task: Task, reporter: Reporter, inputs: Inputs) -> None:
        if task.task_id == "one":
            raise error
        draw(task, reporter, inputs)

    async with house(generate) as built:
        for name in ("one", "two"):
            built.executor.submit(make_task(name))
        first = await built.ended("one")
        assert (first.status, first.code) == ("failed", "internal")
        assert (await built.ended("two")).status == "finished"
    assert type(error).__name__ in caplog.text


async def test_a_dispatcher_that_dies_is_logged_and_loses_no_task(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    take = WorkerPool.take
    faults = iter([ZeroDivisionError("a bug")])

    def fails_once(pool: WorkerPool, checkpoint: str) -> Worker | None:
        if (error := next(faults, None)) is not None:
            raise error
        return take(pool, checkpoint)

    monkeypatch.setattr(WorkerPool, "take", fails_once)
    async with house() as built:
        names = ("one", "two")
        for name in names:
            built.executor.submit(make_task(name))
        assert [(await built.ended(name)).status for name in names] == ["finished"] * 2
        assert [name for name, _ in built.rows] == ["one", "two"]
    assert "dispatcher ended" in caplog.text


async def test_what_is_loaded_is_told_by_each_device_for_itself() -> None:
    class Holder:
        def __init__(self, sink: Sink) -> None:
            self.names: tuple[str, ...] = ()

        def __call__(self, task: Task, reporter: Reporter, inputs: Inputs) -> None:
            self.names = ("model",)
            reporter.model("checkpoint", "model", 0.5)

        def loaded(self) -> tuple[LoadedModel, ...]:
            return tuple(
                LoadedModel(kind="checkpoint", name=name, seconds=0.5, since_mills=1)
                for name in self.names
            )

        def release(self) -> tuple[str, ...]:
            names, self.names = self.names, ()
            return names

    async with house(devices={"a": Holder, "b": Holder}) as built:
        await started(built, "a", "b")
        with built.bus.subscribe() as events:
            built.executor.submit(make_task("one"))
            await built.ended("one")
            told = [data for _, data in await read_until_ends(events, 1)]
        assert [model.device for model in built.executor.loaded()] == ["a"]
        built.workers["b"].release()
        assert [model.device for model in built.executor.loaded()] == ["a"]
        assert await within(built.executor.unload()) == ("model",)
        assert built.executor.loaded() == ()
    assert [data.device for data in told if isinstance(data, ModelLoaded)] == ["a"]


async def test_a_task_stopped_before_its_worker_has_it_never_runs() -> None:
    device = Device()
    device.gate.leave.set()
    async with house(device) as built:
        await started(built, "cpu")
        hold = asyncio.Event()
        begin = built.attempts.begin

        async def slow(task_id: str) -> int:
            await hold.wait()
            return await begin(task_id)

        built.attempts.begin = slow  # type: ignore[method-assign]
        with built.bus.subscribe() as events:
            built.executor.submit(make_task("one"))
            async for delivery in events:
                if isinstance(delivery.data, TaskStarted):
                    break
        assert await built.executor.stop("one")
        hold.set()
        assert (await built.ended("one")).status == "stop"
    assert device.tasks == []


def task_of(key: str, name: str) -> Task:
    return msgspec.structs.replace(make_task(name), delivery=Delivery(key=key))


async def test_a_key_has_so_many_tasks_running_and_another_gets_the_free_device() -> None:
    first, second = Device(), Device()
    devices: dict[str, BuildEngine] = {"a": lambda _: first, "b": lambda _: second}
    async with house(devices=devices, key_limits={"A": KeyLimits(running=1)}) as built:
        await started(built, "a", "b")
        for key, name in (("A", "one"), ("A", "two"), ("A", "three"), ("B", "other")):
            built.executor.submit(task_of(key, name))
        await entered(first.gate)
        await entered(second.gate)
        running = {each.task.task_id for each in built.executor.running()}
        assert running == {"one", "other"}
        assert built.executor.waiting_count == 2
        first.gate.leave.set()
        second.gate.leave.set()
        for name in ("one", "two", "three", "other"):
            assert (await built.ended(name)).status == "finished"
