"""Image tools on several devices: which device takes them, and what a fault of theirs ends."""

import asyncio
import threading

import pytest

from pipeline.errors import DeviceBusy, InternalError, PipelineError, WorkerLost
from pipeline.scheduling.worker import Describe, ToolReply
from tests.unit.failing_devices import Device, MortalDevice, fails, started
from tests.unit.scheduling import (
    NEVER,
    entered,
    house,
    make_task,
    within,
)

DESCRIBE = Describe(picture=b"a cat", image_type="Photo")


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
