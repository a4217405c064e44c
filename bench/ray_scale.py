"""How one server scales over workers of Ray: throughput, its processor time a picture, event delay.

The workers are simulated: an engine that takes a fixed time without CPU, reports ``STEPS`` steps, a
preview at every fifth and a picture of ``PICTURE_BYTES``. Measured are the executor, the bus
with one subscriber, and Ray; HTTP, the database and the disk have benchmarks of their own. Run it
where ray is installed (requirements-ray.txt).
"""

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Sequence
from typing import Final

from bus.bus import EventBus
from bus.events import TERMINAL, TaskProgress
from bus.subscription import Subscription
from pipeline.request.resolved import resolve_params
from pipeline.request.schema import GenerateParams
from pipeline.scheduling.engine_protocol import Generate, Inputs
from pipeline.scheduling.executor import Executor
from pipeline.scheduling.local_worker import LocalWorker
from pipeline.scheduling.pool import WorkerPool
from pipeline.scheduling.ray_cluster import Place, RayCluster
from pipeline.scheduling.ray_worker import RayWorker
from pipeline.scheduling.storage import TaskStorage
from pipeline.scheduling.task import MadeImage, Outcome, Reporter, Task
from pipeline.scheduling.worker import DeviceState, Worker
from pipeline.scheduling.worker_events import Sink
from tools.server_process import ROOT

STEPS: Final = 20
STEP_S: Final = 0.1
PICTURE_BYTES: Final = 1_500_000
PREVIEW_BYTES: Final = 20_000
START_S: Final = 300.0
GOAL_SPEEDUP: Final = 7.6
GOAL_DELAY: Final = 1.5


def build_sleeper(_sink: Sink) -> Generate:
    """An engine that waits."""
    return _sleep


def _sleep(task: Task, reporter: Reporter, inputs: Inputs) -> None:  # noqa: ARG001
    reporter.begin_image(1, 1)
    due = time.monotonic()
    for step in range(1, STEPS + 1):
        due += STEP_S
        time.sleep(max(0.0, due - time.monotonic()))
        reporter.progress(5 * step, str(time.monotonic_ns()), step=step, steps=STEPS)
        if step % 5 == 0:
            reporter.preview(b"p" * PREVIEW_BYTES, "image/jpeg")
    data = os.urandom(PICTURE_BYTES)
    reporter.image(MadeImage(data=data, extension="png", seed=1, width=1024, height=1024))


class Nowhere:
    """An image store that keeps nothing."""

    def check(self) -> None:
        """Always there."""

    def save(self, made: MadeImage, *, task_id: str) -> str:
        """A name."""
        return f"/outputs/{task_id}.{made.extension}"

    def delete(self, path: str) -> None:
        """Nothing."""


class Given:
    """A ``WorkerSource`` of workers that are known."""

    state: DeviceState | None = None

    def __init__(self, workers: Sequence[Worker]) -> None:
        self._workers = workers

    async def keep(self, pool: WorkerPool) -> None:
        """As ``WorkerSource.keep``."""
        for worker in self._workers:
            pool.add(worker)
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Ray goes on."""


async def _forget(_task: Task, _outcome: Outcome) -> None:
    """No rows."""


class Result:
    """What one run measured."""

    def __init__(self, seconds: float, cpu_s: float, pictures: int, delays: list[float]) -> None:
        self.rate = pictures / seconds
        self.cpu_ms = 1e3 * cpu_s / pictures
        self.p50 = statistics.median(delays)
        self.p99 = sorted(delays)[int(0.99 * len(delays))]


async def measure(workers: Sequence[Worker], tasks: int) -> Result:
    """Run so many tasks on these workers."""
    bus = EventBus(asyncio.get_running_loop())
    executor = Executor(bus, (), TaskStorage(Nowhere(), _forget), tasks)
    executor.start(Given(workers))
    async with asyncio.timeout(START_S):
        while [each.state for each in executor.devices()] != ["ready"] * len(workers):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    with bus.subscribe(limit=100_000) as subscription:
        started, cpu = time.monotonic(), time.process_time()
        request = resolve_params(GenerateParams(image_number=1))
        for number in range(tasks):
            executor.submit(Task(task_id=f"t{number}", request=request, in_queue_mills=1))
        delays = await _delays(subscription, tasks)
        seconds, cpu_s = time.monotonic() - started, time.process_time() - cpu
    await executor.close(grace_s=0.0)
    return Result(seconds, cpu_s, tasks, delays)


async def _delays(subscription: Subscription, ends: int) -> list[float]:
    """From each step's report to its event, in ms, until so many tasks have ended."""
    delays = []
    async for event in subscription:
        match event.data:
            case TaskProgress(message=message) if message.isdigit():
                delays.append((time.monotonic_ns() - int(message)) / 1e6)
            case data if isinstance(data, TERMINAL):
                ends -= 1
                if not ends:
                    break
    return delays


def ray_workers(cluster: RayCluster, count: int) -> list[RayWorker]:
    """So many actors on this machine; they reserve no core."""
    (node,) = cluster.nodes().result(START_S)
    place = Place(node=node, cpus=0, gpus=0, threads=1)
    return [RayWorker(f"ray-{n}", build_sleeper, cluster, place) for n in range(count)]


def main() -> None:
    """Print a row for each number of workers, local ones first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=6, help="tasks of each worker")
    options = parser.parse_args()
    print("workers      pictures/s   CPU ms a picture   saturates at/s   delay p50 ms   p99 ms")
    local = [LocalWorker(f"local-{n}", build_sleeper) for n in range(min(options.workers[-1], 8))]
    baseline = _print("local", len(local), asyncio.run(measure(local, options.rounds * len(local))))
    cluster = RayCluster("ray", str(ROOT))
    cluster.connect().result(START_S)
    results = {}
    for count in options.workers:
        workers = ray_workers(cluster, count)
        results[count] = asyncio.run(measure(workers, options.rounds * count))
        _print("ray", count, results[count])
    cluster.close().result(START_S)
    if {1, 8} <= results.keys():
        speedup = results[8].rate / results[1].rate
        print(f"8 workers make {speedup:.2f} x what one makes; goal {GOAL_SPEEDUP}")
        delay = results[8].p99 / baseline.p99
        print(f"p99 of the event delay is {delay:.2f} x that of local workers; goal {GOAL_DELAY}")


def _print(kind: str, count: int, result: Result) -> Result:
    print(
        f"{kind:5} {count:3} {result.rate:15.2f} {result.cpu_ms:18.2f} {1e3 / result.cpu_ms:16.0f}"
        f" {result.p50:14.2f} {result.p99:8.2f}",
        flush=True,
    )
    return result


if __name__ == "__main__":
    main()
