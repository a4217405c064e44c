"""An executor with devices, images and rows in memory, for tests of scheduling."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

from bus.bus import EventBus
from bus.events import TERMINAL, EventData
from bus.subscription import Subscription
from bus.supervision import Backoff
from pipeline.request.resolved import resolve_params
from pipeline.request.schema import GenerateParams
from pipeline.scheduling.attempts import MemoryAttempts
from pipeline.scheduling.engine_protocol import Generate, Inputs
from pipeline.scheduling.executor import Executor
from pipeline.scheduling.key_limits import KeyLimits
from pipeline.scheduling.local_worker import BuildEngine, LocalWorker
from pipeline.scheduling.pool import WorkerSource
from pipeline.scheduling.storage import TaskStorage
from pipeline.scheduling.task import MadeImage, Outcome, Reporter, Task

T = TypeVar("T")
WAIT_S = 5.0
AT_ONCE = Backoff(first_s=0.0, limit_s=0.0)
NEVER = Backoff(first_s=3600.0, limit_s=3600.0)


class Images:
    """An image store in memory. ``before_saving`` may wait or raise."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.before_saving: Callable[[MadeImage], None] = lambda _made: None

    def check(self) -> None:
        """They are always there."""

    def save(self, made: MadeImage, *, task_id: str = "") -> str:
        """Keep a name."""
        self.before_saving(made)
        self.kept.append(f"/outputs/{made.seed}.{made.extension}")
        return self.kept[-1]

    def delete(self, path: str) -> None:
        """Forget a name."""
        self.kept.remove(path)


class InputFiles:
    """Input images by path."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def read(self, path: str) -> bytes:
        """An image's bytes."""
        return self._files[path]


class Gate:
    """Lets a test hold a device in the middle of an image."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.leave = threading.Event()

    def hold(self, reporter: Reporter) -> None:
        """Wait as a long step does, looking out for a stop or skip."""
        self.entered.set()
        while not self.leave.wait(0.005):
            reporter.check()


def make_task(name: str, images: int = 1, **params: object) -> Task:
    asked = GenerateParams(image_number=images, **params)  # type: ignore[arg-type]
    return Task(task_id=name, request=resolve_params(asked), in_queue_mills=1)


def make_image(seed: int = 0) -> MadeImage:
    return MadeImage(data=b"", extension="png", seed=seed, width=8, height=8)


def draw(task: Task, reporter: Reporter, inputs: Inputs) -> None:
    """An engine that is done at once."""
    for number in range(task.params.image_number):
        reporter.begin_image(number + 1, task.params.image_number)
        reporter.image(make_image(number))


class House:
    """An executor with everything it talks to."""

    def __init__(
        self,
        devices: Mapping[str, BuildEngine],
        on_ended: Callable[[], None],
        limit: int,
        backoff: Backoff,
        inputs: Mapping[str, bytes],
        key_limits: Mapping[str, KeyLimits],
    ) -> None:
        self.bus = EventBus(asyncio.get_running_loop())
        self.images = Images()
        self.attempts = MemoryAttempts()
        self.rows: list[tuple[str, Outcome]] = []
        self._on_ended = on_ended
        self.workers = {name: LocalWorker(name, build) for name, build in devices.items()}
        storage = TaskStorage(self.images, self._close_row, InputFiles(inputs), self.attempts)
        workers = tuple(self.workers.values())
        self.executor = Executor(self.bus, workers, storage, limit, backoff, key_limits)

    async def _close_row(self, task: Task, outcome: Outcome) -> None:
        self._on_ended()
        self.rows.append((task.task_id, outcome))

    async def ended(self, name: str) -> Outcome:
        """How a task ends; waits for it."""
        known = dict(self.rows)
        return known[name] if name in known else await within(self.executor.wait(name))

    async def states(self, *states: str) -> None:
        """Wait until the devices are in these states."""
        async with asyncio.timeout(WAIT_S):
            while self._states() != states:  # noqa: ASYNC110 - no event tells of each device
                await asyncio.sleep(0.001)

    def _states(self) -> tuple[str, ...]:
        return tuple(device.state for device in self.executor.devices())


@asynccontextmanager
async def house(
    generate: Generate = draw,
    *,
    devices: Mapping[str, BuildEngine] | None = None,
    on_ended: Callable[[], None] = lambda: None,
    limit: int = 100,
    backoff: Backoff = AT_ONCE,
    inputs: Mapping[str, bytes] | None = None,
    key_limits: Mapping[str, KeyLimits] | None = None,
    source: WorkerSource | None = None,
) -> AsyncIterator[House]:
    """One device ``cpu`` that runs ``generate``, or ``devices``; all closed at the end."""
    devices = devices or {"cpu": lambda _sink: generate}
    built = House(devices, on_ended, limit, backoff, inputs or {}, key_limits or {})
    built.executor.start(source)
    try:
        yield built
    finally:
        await built.executor.close(grace_s=0.1)


async def within(awaitable: Awaitable[T]) -> T:
    return await asyncio.wait_for(awaitable, WAIT_S)


async def read_until_ends(subscription: Subscription, ends: int) -> list[tuple[str, EventData]]:
    """The events until so many tasks have ended, with their tasks."""
    seen: list[tuple[str, EventData]] = []
    async with asyncio.timeout(WAIT_S):
        async for event in subscription:
            seen.append((event.task_id or "", event.data))
            if sum(isinstance(data, TERMINAL) for _, data in seen) == ends:
                break
    return seen


async def entered(gate: Gate) -> None:
    assert await asyncio.to_thread(gate.entered.wait, WAIT_S)
