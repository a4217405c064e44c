"""Engines and devices that fail, for tests of workers."""

from collections.abc import Iterator

from pipeline.scheduling.engine_protocol import Generate, Inputs
from pipeline.scheduling.local_worker import BuildEngine
from pipeline.scheduling.task import Reporter, Task
from pipeline.scheduling.worker_events import Sink
from tests.unit.scheduling import (
    Gate,
    House,
    draw,
    make_image,
)


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
