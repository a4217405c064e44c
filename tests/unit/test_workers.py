"""More than one worker: who gets what, and what happens when one fails, dies or comes back."""

import asyncio
import threading
from collections.abc import Iterator

import msgspec
import pytest

from bus.events import (
    ModelLoaded,
    ServerStatus,
    TaskImage,
    TaskQueued,
    TaskStarted,
)
from bus.supervision import Backoff
from pipeline.errors import DeviceBusy, InternalError, PipelineError, SavingFailed, WorkerLost
from pipeline.request.delivery import Delivery
from pipeline.scheduling.dispatch import RUN_LIMIT
from pipeline.scheduling.engine_protocol import Generate, Inputs, LoadedModel
from pipeline.scheduling.key_limits import KeyLimits
from pipeline.scheduling.local_worker import BuildEngine
from pipeline.scheduling.pool import WorkerPool
from pipeline.scheduling.task import Reporter, Task
from pipeline.scheduling.worker import Describe, ToolReply, Worker
from pipeline.scheduling.worker_events import Sink
from tests.unit.scheduling import (
    NEVER,
    Gate,
    House,
    draw,
    entered,
    house,
    make_image,
    make_task,
    read_until_ends,
    within,
)

DESCRIBE = Describe(picture=b"a cat", image_type="Photo")


class Device:
    """An engine that waits at a gate, and tells which tasks and tools it had."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.tasks: list[str] = []
        self.tools = 0

    def __call__(self, task: Task, reporter: Reporter, inputs: Inputs) -> None:
        self.tasks.append(task.task_id)
        self.gate.hold(reporter)
        draw(task, reporter, inputs)

    def describe(self, picture: bytes, image_type: str) -> str:
        """The picture as text."""
        self.tools += 1
        return picture.decode()

    def generate_mask(self, picture: bytes, options: object) -> bytes:
        """The picture itself."""
        return picture


class MortalDevice:
    """An engine whose device breaks with certain tasks, after their first image."""

    def __init__(self, deadly: set[str]) -> None:
        self.deadly = deadly
        self.fault: str | None = None

    def __call__(self, task: Task, reporter: Reporter, inputs: Inputs) -> None:
        reporter.image(make_image(7))
        if task.task_id in self.deadly:
            self.fault = "an illegal memory access was encountered"
            raise RuntimeError(self.fault)

    def device_fault(self) -> str | None:
        """Why the device is broken."""
        return self.fault


def fails(error: BaseException, times: int | None = None) -> BuildEngine:
    """Builds no engine, so many times (None: never)."""
    left: Iterator[int] = iter(range(times)) if times is not None else iter(int, 1)

    def build(_sink: Sink) -> Generate:
        if next(left, None) is not None:
            raise error
        return draw

    return build


async def started(built: House, *names: str) -> None:
    """Wait until all devices are ready, so that tasks are spread over them."""
    await built.states(*("ready" for _ in names))


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


async def test_whatever_a_tool_raises_is_an_error_and_the_device_goes_on() -> None:
    class Odd(Device):
        def describe(self, picture: bytes, image_type: str) -> str:
            if self.tools == 0:
                self.tools += 1
                raise SystemExit(3)
            return super().describe(picture, image_type)

    async with house(Odd()) as built:
        with pytest.raises(InternalError):
            await within(built.executor.run_tool(DESCRIBE))
        assert await within(built.executor.run_tool(DESCRIBE)) == ToolReply(text="a cat")


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


async def test_a_tool_goes_to_the_device_that_is_free() -> None:
    busy, free = Device(), Device()
    async with house(devices={"a": lambda _: busy, "b": lambda _: free}) as built:
        await started(built, "a", "b")
        built.executor.submit(make_task("one"))
        await entered(busy.gate)
        assert await within(built.executor.run_tool(DESCRIBE)) == ToolReply(text="a cat")
        assert (busy.tools, free.tools) == (0, 1)
        busy.gate.leave.set()
        await built.ended("one")


async def test_a_task_goes_to_the_device_that_has_no_tool() -> None:
    may_end = threading.Event()
    begun = threading.Event()

    class Slow(Device):
        def describe(self, picture: bytes, image_type: str) -> str:
            begun.set()
            assert may_end.wait(5.0)
            return super().describe(picture, image_type)

    slow, free = Slow(), Device()
    free.gate.leave.set()
    async with house(devices={"a": lambda _: slow, "b": lambda _: free}) as built:
        await started(built, "a", "b")
        asked = asyncio.create_task(built.executor.run_tool(DESCRIBE))
        assert await asyncio.to_thread(begun.wait, 5.0)
        built.executor.submit(make_task("one"))
        assert (await built.ended("one")).status == "finished"
        may_end.set()
        await within(asked)
    assert free.tasks == ["one"]


async def test_a_device_that_a_tool_breaks_is_started_again() -> None:
    class Broken(MortalDevice):
        def describe(self, picture: bytes, image_type: str) -> str:
            if self.deadly:
                self.fault = "an illegal memory access was encountered"
                raise RuntimeError(self.fault)
            return "a cat"

        def generate_mask(self, picture: bytes, options: object) -> bytes:
            return picture

    engines = iter([Broken({"tool"}), Broken(set())])
    async with house(devices={"cpu": lambda _: next(engines)}) as built:
        with pytest.raises(WorkerLost):
            await within(built.executor.run_tool(DESCRIBE))
        await built.states("ready")
        assert await within(built.executor.run_tool(DESCRIBE)) == ToolReply(text="a cat")
        built.executor.submit(make_task("one"))
        assert (await built.ended("one")).status == "finished"


async def test_a_tool_is_refused_at_once_where_every_device_has_failed() -> None:
    devices = {"cpu": fails(PipelineError("no such device"))}
    async with house(devices=devices, backoff=NEVER) as built:
        await built.states("failed")
        with pytest.raises(DeviceBusy, match="no such device"):
            await within(built.executor.run_tool(DESCRIBE))


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


async def test_input_images_reach_the_engine_as_bytes() -> None:
    seen: list[dict[str, bytes]] = []

    def generate(task: Task, reporter: Reporter, inputs: Inputs) -> None:
        seen.append(dict(inputs))

    path = "/inputs/cat.png"
    async with house(generate, inputs={path: b"a picture"}) as built:
        built.executor.submit(make_task("one", uov_input_image=path))
        await built.ended("one")
    assert seen == [{path: b"a picture"}]


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


async def test_images_are_saved_in_order_on_neither_the_device_nor_the_loop() -> None:
    threads: list[threading.Thread] = []
    device_threads: list[threading.Thread] = []

    def generate(task: Task, reporter: Reporter, inputs: Inputs) -> None:
        device_threads.append(threading.current_thread())
        draw(task, reporter, inputs)

    async with house(generate) as built:
        built.images.before_saving = lambda _made: threads.append(threading.current_thread())
        with built.bus.subscribe() as events:
            built.executor.submit(make_task("one", images=5))
            told = await read_until_ends(events, 1)
        outcome = built.rows[0][1]
    images = [(data.index, data.seed) for _, data in told if isinstance(data, TaskImage)]
    assert images == [(index, index) for index in range(5)]
    assert outcome.images == tuple(f"/outputs/{index}.png" for index in range(5))
    assert not {*threads} & {*device_threads, threading.current_thread()}


async def test_the_device_does_not_wait_for_the_disk() -> None:
    may_save = threading.Event()
    drawn = threading.Event()

    def wait_to_save(made: object) -> None:
        assert may_save.wait(5.0)

    def generate(task: Task, reporter: Reporter, inputs: Inputs) -> None:
        draw(task, reporter, inputs)
        drawn.set()

    async with house(generate) as built:
        built.images.before_saving = wait_to_save
        built.executor.submit(make_task("one", images=3))
        assert await asyncio.to_thread(drawn.wait, 5.0)
        assert built.images.kept == []
        may_save.set()
        assert len((await built.ended("one")).images) == 3


async def test_an_image_that_cannot_be_saved_ends_the_task() -> None:
    gate = Gate()

    def generate(task: Task, reporter: Reporter, inputs: Inputs) -> None:
        reporter.image(make_image(1))
        reporter.image(make_image(2))
        gate.hold(reporter)  # until the failure cancels it

    def full(made: object) -> None:
        raise SavingFailed("the disk is full")

    async with house(generate) as built:
        built.images.before_saving = full
        built.executor.submit(make_task("one"))
        outcome = await built.ended("one")
    assert (outcome.status, outcome.code, outcome.error) == (
        "failed",
        "saving_failed",
        "the disk is full",
    )


async def test_a_fault_while_saving_ends_the_task_as_internal() -> None:
    def odd(made: object) -> None:
        raise ZeroDivisionError("secret detail")

    async with house() as built:
        built.images.before_saving = odd
        built.executor.submit(make_task("one"))
        outcome = await built.ended("one")
        built.images.before_saving = lambda _made: None
        built.executor.submit(make_task("two"))
        assert (await built.ended("two")).status == "finished"
    assert (outcome.status, outcome.code) == ("failed", "internal")
    assert "secret" not in outcome.error


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
