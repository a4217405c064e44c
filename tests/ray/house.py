"""An executor over actors of Ray, with images and rows in memory, and ways to kill actors."""

import asyncio
import itertools
from typing import Final

import psutil

from bus.bus import EventBus
from bus.supervision import Backoff
from pipeline.scheduling.attempts import MemoryAttempts
from pipeline.scheduling.executor import Executor
from pipeline.scheduling.pool import WorkerPool
from pipeline.scheduling.ray_fleet import RayFleet
from pipeline.scheduling.storage import TaskStorage
from pipeline.scheduling.task import MadeImage, Outcome, Task
from pipeline.scheduling.worker import DeviceState
from tests.unit.scheduling import InputFiles

WAIT_S: Final = 60.0
SOON: Final = Backoff(first_s=0.05, limit_s=0.2)
INPUTS: Final = {"/inputs/a.png": b" and a picture"}


class Files:
    """An image store in memory, by path."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self._numbers = itertools.count()

    def check(self) -> None:
        """They are always there."""

    def save(self, made: MadeImage, *, task_id: str) -> str:
        """Keep its bytes."""
        path = f"/outputs/{task_id}-{next(self._numbers)}.{made.extension}"
        self.kept[path] = made.data
        return path

    def delete(self, path: str) -> None:
        """Forget it."""
        self.kept.pop(path, None)


class RayHouse:
    """An executor and what it talks to. As a ``WorkerSource`` it is the fleet, and leaves Ray."""

    def __init__(self, fleet: RayFleet) -> None:
        self._fleet = fleet
        self.bus = EventBus(asyncio.get_running_loop())
        self.files = Files()
        self.rows: list[tuple[str, Outcome]] = []
        storage = TaskStorage(self.files, self._close_row, InputFiles(INPUTS), MemoryAttempts())
        self.executor = Executor(self.bus, (), storage, 1000, SOON)

    @property
    def state(self) -> DeviceState | None:
        """As ``WorkerSource.state``."""
        return self._fleet.state

    async def keep(self, pool: WorkerPool) -> None:
        """As ``WorkerSource.keep``."""
        await self._fleet.keep(pool)

    async def close(self) -> None:
        """The next test uses the same Ray."""

    async def ready(self, count: int) -> None:
        """Wait until so many workers are ready."""
        async with asyncio.timeout(WAIT_S):
            while sum(each.state == "ready" for each in self.executor.devices()) < count:  # noqa: ASYNC110 - no event tells of each device
                await asyncio.sleep(0.02)

    async def end(self, task: Task) -> Outcome:
        """Run a task to its end."""
        self.executor.submit(task)
        return await asyncio.wait_for(self.executor.wait(task.task_id), WAIT_S)

    def pictures(self, outcome: Outcome) -> list[bytes]:
        """The bytes of a task's images."""
        return [self.files.kept[path] for path in outcome.images]

    async def _close_row(self, task: Task, outcome: Outcome) -> None:
        self.rows.append((task.task_id, outcome))


def actors() -> list[psutil.Process]:
    """The processes of our actors: those of other Rays on this machine are not among them."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if _name(child).startswith("ray::WorkerActor")]


def _name(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
