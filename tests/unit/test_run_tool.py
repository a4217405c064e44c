"""A tool's turn on a device: between tasks, at most so late, and called off if nobody waits."""

import asyncio
import threading

import pytest

from pipeline.errors import DeviceBusy, DeviceOutOfMemory, ServerStopping, UnsupportedFeature
from pipeline.request.tools import ImageType, MaskOptions
from pipeline.scheduling.engine_protocol import Inputs
from pipeline.scheduling.task import Reporter, Task
from pipeline.scheduling.tools import TOOL_LIMIT
from pipeline.scheduling.worker import Describe, DrawMask, ToolReply
from pipeline.scheduling.worker_events import Sink
from tests.unit.scheduling import Gate, draw, entered, house, make_image, make_task, within

LONG_S = 30.0


class Device:
    """Draws, waiting at the gate, and tells what it did."""

    def __init__(self, gate: Gate | None = None) -> None:
        self.gate = gate
        self.calls: list[str] = []
        self.failure: Exception | None = None

    def __call__(self, task: Task, reporter: Reporter, inputs: Inputs) -> None:
        self.calls.append(f"begin {task.task_id}")
        if self.gate is not None:
            self.gate.hold(reporter)
        reporter.image(make_image())
        self.calls.append(f"end {task.task_id}")

    def describe(self, picture: bytes, image_type: ImageType) -> str:
        """The picture's bytes as text."""
        self.calls.append("tool")
        if self.failure is not None:
            raise self.failure
        return f"{image_type}: {picture.decode()}"

    def generate_mask(self, picture: bytes, options: MaskOptions) -> bytes:
        """The picture itself."""
        self.calls.append("tool")
        return picture


CAT = ToolReply(text="Photo: a cat")
DESCRIBE = Describe(picture=b"a cat", image_type="Photo")


async def test_a_tools_result_comes_back() -> None:
    async with house(Device()) as built:
        assert await within(built.executor.run_tool(DESCRIBE)) == CAT


async def test_what_a_tool_raises_comes_back_and_the_device_goes_on() -> None:
    device = Device()
    async with house(device) as built:
        device.failure = UnsupportedFeature("image", "not this one")
        with pytest.raises(UnsupportedFeature, match="not this one"):
            await within(built.executor.run_tool(DESCRIBE))
        device.failure = MemoryError()
        with pytest.raises(DeviceOutOfMemory):
            await within(built.executor.run_tool(DESCRIBE))
        device.failure = None
        assert await within(built.executor.run_tool(DESCRIBE)) == CAT


async def test_a_tool_goes_before_tasks_that_wait_but_not_into_one_that_runs() -> None:
    gate = Gate()
    device = Device(gate)
    async with house(device) as built:
        for name in "ab":
            built.executor.submit(make_task(name))
        await entered(gate)
        asked = asyncio.create_task(built.executor.run_tool(DESCRIBE))
        await asyncio.sleep(0)  # it is in the device's line now
        gate.leave.set()
        ends = [built.executor.wait(name) for name in "ab"]
        await within(asyncio.gather(asked, *ends))
        assert device.calls == ["begin a", "end a", "tool", "begin b", "end b"]


async def test_a_tool_waits_for_a_device_that_starts() -> None:
    may_start = threading.Event()

    def build(_sink: Sink) -> Device:
        assert may_start.wait(LONG_S)
        return Device()

    async with house(devices={"cpu": build}) as built:
        asked = asyncio.create_task(built.executor.run_tool(DESCRIBE))
        await asyncio.sleep(0)
        may_start.set()
        assert await within(asked) == CAT


async def test_a_tool_that_waits_too_long_is_told_so_and_called_off() -> None:
    gate = Gate()
    device = Device(gate)
    async with house(device) as built:
        built.executor.submit(make_task("a"))
        await entered(gate)
        with pytest.raises(DeviceBusy, match="try again later"):
            await within(built.executor.run_tool(DESCRIBE, wait_s=0.01))
        gate.leave.set()
        await within(built.executor.wait("a"))
        assert await within(built.executor.run_tool(DESCRIBE)) == CAT
        assert device.calls.count("tool") == 1


async def test_more_tools_than_may_wait_are_refused_at_once() -> None:
    gate = Gate()
    async with house(Device(gate)) as built:
        built.executor.submit(make_task("a"))
        await entered(gate)
        waiting = [
            asyncio.create_task(built.executor.run_tool(DESCRIBE)) for _ in range(TOOL_LIMIT)
        ]
        await asyncio.sleep(0)
        with pytest.raises(DeviceBusy, match="try again later"):
            await within(built.executor.run_tool(DESCRIBE))
        gate.leave.set()
        assert set(await within(asyncio.gather(*waiting))) == {CAT}
        assert await within(built.executor.run_tool(DESCRIBE)) == CAT


async def test_a_tool_that_nobody_waits_for_any_more_is_called_off() -> None:
    gate = Gate()
    device = Device(gate)
    async with house(device) as built:
        built.executor.submit(make_task("a"))
        await entered(gate)
        asked = asyncio.create_task(built.executor.run_tool(DESCRIBE))
        await asyncio.sleep(0)
        asked.cancel()
        await asyncio.wait([asked])
        gate.leave.set()
        await within(built.executor.wait("a"))
        await within(built.executor.run_tool(DrawMask(picture=b"", options=MaskOptions())))
        assert device.calls == ["begin a", "end a", "tool"]


async def test_a_device_without_tools_says_so() -> None:
    async with house(draw) as built:
        with pytest.raises(UnsupportedFeature, match="no image tools"):
            await within(built.executor.run_tool(DESCRIBE))


async def test_an_executor_that_stops_takes_no_tool() -> None:
    async with house(Device()) as built:
        await built.executor.close(grace_s=0.0)
        with pytest.raises(ServerStopping):
            await built.executor.run_tool(DESCRIBE)
