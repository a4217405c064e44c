"""Images that cross to a worker and back: input bytes, saving in order, faults while saving."""

import asyncio
import threading

from bus.events import (
    TaskImage,
)
from pipeline.errors import SavingFailed
from pipeline.scheduling.engine_protocol import Inputs
from pipeline.scheduling.task import Reporter, Task
from tests.unit.scheduling import (
    Gate,
    draw,
    house,
    make_image,
    make_task,
    read_until_ends,
)


async def test_input_images_reach_the_engine_as_bytes() -> None:
    seen: list[dict[str, bytes]] = []

    def generate(task: Task, reporter: Reporter, inputs: Inputs) -> None:
        seen.append(dict(inputs))

    path = "/inputs/cat.png"
    async with house(generate, inputs={path: b"a picture"}) as built:
        built.executor.submit(make_task("one", uov_input_image=path))
        await built.ended("one")
    assert seen == [{path: b"a picture"}]


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
