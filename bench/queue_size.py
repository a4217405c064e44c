"""What does a long queue cost? Every figure at 100 and at 10,000 waiting tasks, in one run.

The first table is CPU time in this process: the queue itself, beside a plain list of tasks (the
baseline). The second is CPU time of a server process, everything included: HTTP, SQLite, events
to one client. The ratios are what counts; goal: at most 1 ms an operation of the queue, and a
restart with 10,000 waiting tasks in at most 3 s of CPU up to the first answer.
"""

import argparse
import asyncio
import random
import statistics
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
import psutil

from bus.events import now_ms
from pipeline.request.resolved import resolve_params
from pipeline.request.schema import GenerateParams
from pipeline.scheduling.queue import PriorityQueue, Waiting
from pipeline.scheduling.task import Task
from storage.database import open_database
from storage.history import HistoryRepository
from storage.queue_state import QueueState
from tools.server_process import ServerProcess

PROGRAM: Final = Path(__file__).with_name("idle_server.py")
SHORT: Final = 100
REQUEST: Final = resolve_params(GenerateParams(prompt="a red star", base_model_name="embedded"))
BODY: Final = {"prompt": "a red star", "async_process": True, "preset": "embedded"}


def make_task() -> Task:
    return Task(task_id=uuid.uuid4().hex, request=REQUEST, in_queue_mills=now_ms())


class ListQueue:
    """The baseline: a list that is searched from its beginning."""

    def __init__(self) -> None:
        self._tasks: list[Task] = []

    def add(self, task: Task) -> None:
        self._tasks.append(task)

    def place(self, task_id: str) -> int:
        return next(at for at, task in enumerate(self._tasks) if task.task_id == task_id)

    def move(self, task_id: str, place: int) -> None:
        self._tasks.insert(place, self._tasks.pop(self.place(task_id)))

    def take(self) -> Task:
        return self._tasks.pop(0)


def time_each(operation: Callable[[], object], count: int) -> float:
    """Median CPU time of this thread, in microseconds."""
    times = []
    for _ in range(count):
        began = time.thread_time_ns()
        operation()
        times.append(time.thread_time_ns() - began)
    return statistics.median(times) / 1000


def measure_structures(waiting: int, count: int) -> dict[str, tuple[float, float]]:
    """Microseconds of each operation: of the queue, and of the baseline."""
    queue, plain = PriorityQueue(), ListQueue()
    tasks = [make_task() for _ in range(waiting)]
    for task in tasks:
        queue.add(Waiting(task=task, order=queue.next_order))
        plain.add(task)
    pick = random.Random(1)

    def any_id() -> str:
        return pick.choice(tasks).task_id

    def put_back() -> None:
        entry = queue.take()
        queue.add(Waiting(task=entry.task, order=queue.next_order))

    return {
        "take the first, add it at the end": (
            time_each(put_back, count),
            time_each(lambda: plain.add(plain.take()), count),
        ),
        "place of a task": (
            time_each(lambda: queue.place(any_id()), count),
            time_each(lambda: plain.place(any_id()), count),
        ),
        "move to a place": (
            time_each(lambda: queue.move(any_id(), pick.randrange(waiting)), count),
            time_each(lambda: plain.move(any_id(), pick.randrange(waiting)), count),
        ),
        "page of 200": (time_each(lambda: queue.entries(waiting // 2, 200), count), float("nan")),
    }


async def fill(path: Path, waiting: int) -> None:
    """Rows of waiting tasks, and a pause, as a server leaves them."""
    async with open_database(path) as database:
        await QueueState(database).save_paused(True)
        history = HistoryRepository(database)
        row = await history.add_queued(make_task())
        async with database.transaction() as connection:
            ids = msgspec.json.encode([uuid.uuid4().hex for _ in range(waiting - 1)]).decode()
            await connection.execute(
                "INSERT INTO generate_record (task_id, req_params, in_queue_mills, webhook_url)"
                " SELECT value, req_params, in_queue_mills, webhook_url"
                " FROM generate_record, json_each(?) WHERE task_id = ?",
                (ids, row.task_id),
            )
            await connection.execute(
                "INSERT INTO focal_task (task_id, base_url) SELECT value, '' FROM json_each(?)",
                (ids,),
            )


class IdleServer:
    """A server process with waiting tasks, whose CPU time is read around requests."""

    def __init__(self, folder: Path) -> None:
        self.server = ServerProcess(folder, ["--queue-size", "100000"], program=PROGRAM)
        self._process = psutil.Process(self.server.process.pid)

    @property
    def cpu_seconds(self) -> float:
        """CPU time of the process so far, in steps of 10 ms."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    async def each(self, requests: Iterable[Awaitable[object]]) -> float:
        """Milliseconds of CPU a request, the events it causes included."""
        began, count = self.cpu_seconds, 0
        for request in requests:
            await request
            count += 1
        return 1000 * (self.cpu_seconds - began) / count


async def measure_server(waiting: int, count: int) -> dict[str, float]:
    """Seconds of CPU until the first answer, and milliseconds of each kind of request."""
    with tempfile.TemporaryDirectory() as folder:
        await fill(Path(folder) / "outputs" / "db.sqlite3", waiting)
        idle = IdleServer(Path(folder))
        try:
            idle.server.wait_for("/health")
            figures = {"restart, up to /health (s)": idle.cpu_seconds}
            async with aiohttp.ClientSession(idle.server.url) as session:
                figures |= await measure_requests(session, idle, waiting, count)
        finally:
            idle.server.stop()
    return figures


async def measure_requests(
    session: aiohttp.ClientSession, idle: IdleServer, waiting: int, count: int
) -> dict[str, float]:
    """Milliseconds of CPU of each kind of request, with one WebSocket client listening."""
    pick = random.Random(1)
    ids: list[str] = []
    for offset in range(0, waiting, 1000):
        page = await call(session, "GET", "/v1/queue", offset=offset, limit=1000)
        ids += [task["task_id"] for task in page["pending"]]
    chosen = [pick.choice(ids) for _ in range(count)]
    queue, control, generate = "/v1/queue", "/v1/engine/control", "/v1/engine/generate/"
    async with session.ws_connect("/ws") as ws:
        listener = asyncio.create_task(read_all(ws))
        figures = {
            "GET /health, to compare": (call(session, "GET", "/health") for _ in chosen),
            "admit": (call(session, "POST", generate, BODY) for _ in chosen),
            "move to a place": (
                call(session, "POST", f"{queue}/move", task_id=one, place=pick.randrange(waiting))
                for one in chosen
            ),
            "give a priority": (
                call(session, "POST", f"{queue}/priority", task_id=one, priority=1)
                for one in chosen
            ),
            "stop": (
                call(session, "POST", control, action="stop", task_id=one)
                for one in dict.fromkeys(chosen)
            ),
            "GET /v1/queue, a page of 10": (
                call(session, "GET", queue, offset=waiting // 2, limit=10) for _ in chosen
            ),
        }
        measured = {name: await idle.each(requests) for name, requests in figures.items()}
        listener.cancel()
    return measured


async def call(
    session: aiohttp.ClientSession,
    method: str,
    path: str,
    body: object = None,
    **query: str | int,
) -> Any:
    """The reply's JSON. Raises for one that is not 2xx."""
    async with session.request(method, path, params=query, json=body) as answer:
        answer.raise_for_status()
        return await answer.json()


async def read_all(ws: aiohttp.ClientWebSocketResponse) -> None:
    """Read the events, as an open page does."""
    async for _ in ws:
        pass


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", type=int, default=10_000, help="waiting tasks of the long queue")
    parser.add_argument("--count", type=int, default=300, help="requests of each kind")
    options = parser.parse_args()
    lengths = (SHORT, options.long)
    print("median CPU time in this process, us      " + "".join(f"{n:>24}" for n in lengths))
    structures = [measure_structures(length, 1000) for length in lengths]
    for name in structures[0]:
        cells = [
            f"{ours:10.1f} (list {plain:6.1f})" for ours, plain in map(itemgetter(name), structures)
        ]
        print(f"{name:40}" + "".join(f"{cell:>24}" for cell in cells))
    servers = [asyncio.run(measure_server(length, options.count)) for length in lengths]
    print("\nCPU time of a server process, ms a request" + "".join(f"{n:>12}" for n in lengths))
    for name in servers[0]:
        short, long = map(itemgetter(name), servers)
        print(f"{name:42}{short:12.2f}{long:12.2f}   x {long / short:.2f}")


if __name__ == "__main__":
    main()
