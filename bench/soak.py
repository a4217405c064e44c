"""Fifty clients of every kind for two hours: ``python -m bench.soak --minutes 120``.

They post, stream, poll, listen, read galleries, send nonsense and hang up. What may not grow is the
memory, the descriptors and the threads of the server; what may not happen is a 5xx, or a task that
does not end exactly once. The device draws at once, so this is the web half alone. Baseline: the
server after the first tenth of the run, when it is warm.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import aiohttp
import msgspec
import psutil

from tools.server_process import ROOT, ServerProcess, running_server

SERVER: Final = ROOT / "bench" / "sketching_server.py"
GENERATE: Final = "/v1/engine/generate/"
TERMINAL: Final = ("task.finished", "task.failed", "task.stopped", "task.skipped")
GROWTH: Final = 1.15  # of memory, from the warm server to the end
SLACK: Final = 60  # connections that open and close while a sample is taken


class Sample(msgspec.Struct, frozen=True):
    """What the server uses at a moment."""

    rss: int
    descriptors: int
    threads: int


class Soak:
    """The clients of one run and what they saw."""

    def __init__(self, session: aiohttp.ClientSession, seconds: float, pause_s: float) -> None:
        self.session = session
        self.end = time.monotonic() + seconds
        self.pause_s = pause_s  # of a client between two requests, on average
        self.statuses: Counter[int] = Counter()
        self.admitted: set[str] = set()
        self.ended: Counter[str] = Counter()
        self.faults: list[str] = []
        self.hung_up = 0
        self._heard = asyncio.Event()

    async def client(self, kind: "Kind", chance: random.Random) -> None:
        """One client until the run is over."""
        while time.monotonic() < self.end:
            try:
                async with asyncio.timeout(60):
                    await kind(self, chance)
            except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
                self.faults.append(f"{kind.__name__}: {error!r}")
            await asyncio.sleep(chance.random() * 2 * self.pause_s)

    async def ask(self, method: str, path: str, **options: Any) -> bytes:
        """One request; its body."""
        async with self.session.request(method, path, **options) as answer:
            self._note(path, answer)
            return await answer.read()

    async def post(self, **params: object) -> str:
        """A generate request answered as JSON; the id of its task."""
        record = json.loads(await self.ask("POST", GENERATE, json={"prompt": "soak", **params}))
        return str(record.get("task_id", ""))

    def _note(self, path: str, answer: aiohttp.ClientResponse) -> None:
        self.statuses[answer.status] += 1
        if answer.status >= 500:
            self.faults.append(f"{answer.status} {path}")
        if task_id := answer.headers.get("X-Task-Id"):
            self.admitted.add(task_id)

    async def all_ended(self) -> None:
        """Wait until every admitted task has ended."""
        while self.admitted - self.ended.keys():
            self._heard.clear()
            await self._heard.wait()

    async def listen(self, ready: asyncio.Event) -> None:
        """Count how often each task ends; a connection that breaks is taken up where it broke."""
        query = {"types": ",".join(TERMINAL)}
        while True:
            with suppress(aiohttp.ClientError):
                async with self.session.get("/v1/events", params=query) as answer:
                    ready.set()
                    async for line in answer.content:
                        if line.startswith(b"data: ") and len(line) > 10:
                            event = json.loads(line[6:])
                            query["since"] = str(event["seq"])
                            if event["type"] == "bus.gap":
                                self.faults.append(f"the listener missed {event['data']}")
                            elif event["task_id"]:
                                self.ended[event["task_id"]] += 1
                                self._heard.set()


Kind = Callable[[Soak, random.Random], Awaitable[None]]


async def wait_for_record(soak: Soak, chance: random.Random) -> None:
    """The synchronous client."""
    await soak.post(image_number=chance.choice((1, 1, 2)))


async def poll(soak: Soak, chance: random.Random) -> None:
    """Queues a task and waits for it by long polls; now and then stops it."""
    task_id = await soak.post(async_process=True)
    if task_id and chance.random() < 0.2:
        await soak.ask("POST", f"/v1/engine/control?action=stop&task_id={task_id}")
    if task_id:
        await soak.ask("GET", f"/tasks/{task_id}?wait=10")


async def stream(soak: Soak, chance: random.Random) -> None:
    """Reads a stream; now and then hangs up in the middle."""
    body = {"prompt": "soak", "stream_output": True, "image_number": 2}
    async with soak.session.post(GENERATE, json=body) as answer:
        soak._note(GENERATE, answer)
        if chance.random() < 0.3:
            soak.hung_up += 1
            answer.close()
            return
        await answer.read()


async def take_picture(soak: Soak, chance: random.Random) -> None:
    """Wants nothing but the picture."""
    kind = chance.choice(("image/png", "image/jpeg", "image/webp"))
    await soak.ask("POST", GENERATE, json={"prompt": "soak"}, headers={"Accept": kind})


async def browse(soak: Soak, chance: random.Random) -> None:
    """Reads the gallery, pictures, thumbnails and parts of them."""
    listed = json.loads(await soak.ask("GET", "/tasks?query=history&page_size=20"))
    await soak.ask("GET", "/v1/history")
    await soak.ask("GET", "/v1/queue")
    pictures = [url for record in listed["history"] for url in record["result"] or ()]
    for url in chance.sample(pictures, min(3, len(pictures))):
        path = "/outputs/" + url.partition("/outputs/")[2]
        await soak.ask("GET", path, headers={"Accept": "image/webp"})
        await soak.ask("GET", path, headers={"Range": "bytes=0-99"})
        await soak.ask("GET", path.replace("/outputs/", "/thumbnails/"))


async def hear(soak: Soak, chance: random.Random) -> None:
    """Listens to everything for a moment, then leaves without a word."""
    async with soak.session.get("/v1/events") as answer:
        soak._note("/v1/events", answer)
        with suppress(TimeoutError):
            async with asyncio.timeout(chance.random() * 5):
                while await answer.content.readany():
                    pass
        answer.close()


async def talk(soak: Soak, chance: random.Random) -> None:
    """Speaks over a WebSocket, nonsense included."""
    async with soak.session.ws_connect("/ws?preview=binary") as socket:
        soak.statuses[101] += 1
        for text in ('{"op": "ping"}', '{"op": "subscribe", "types": ["task.finished"]}', "what?"):
            await socket.send_str(text)
        with suppress(TimeoutError):
            async with asyncio.timeout(chance.random() * 5):
                async for _ in socket:
                    pass


async def err(soak: Soak, chance: random.Random) -> None:
    """Sends what must be refused."""
    body = chance.choice((b"{", b'{"image_number": 99}', b'{"uov_input_image": "AAAA"}', b"[]"))
    await soak.ask("POST", GENERATE, data=body)
    await soak.ask("GET", chance.choice(("/nowhere", "/outputs/2026-01-01/a.png", "/tasks/x")))
    await soak.ask("GET", "/v1/events?types=nothing")


KINDS: Final[tuple[Kind, ...]] = (
    *(wait_for_record, poll, stream, take_picture, browse, hear, talk, err),
)


def sample(process: psutil.Process) -> Sample:
    """What the process uses now."""
    return Sample(process.memory_info().rss, process.num_fds(), process.num_threads())


async def watch(soak: Soak, server: ServerProcess, every: float) -> list[Sample]:
    """Samples until the run is over."""
    process = psutil.Process(server.process.pid)
    found = []
    while time.monotonic() < soak.end:
        await asyncio.sleep(every)
        found.append(sample(process))
    return found


async def soaked(
    server: ServerProcess, seconds: float, clients: int, pause_s: float
) -> tuple[Soak, list[Sample]]:
    """Run the clients, then wait until every admitted task has ended."""
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=30)
    async with aiohttp.ClientSession(server.url, connector=connector, timeout=timeout) as session:
        soak, ready = Soak(session, seconds, pause_s), asyncio.Event()
        listener = asyncio.create_task(soak.listen(ready))
        await ready.wait()
        running = [
            soak.client(KINDS[number % len(KINDS)], random.Random(number))
            for number in range(clients)
        ]
        watching = asyncio.create_task(watch(soak, server, seconds / 100))
        await asyncio.gather(*running)
        samples = await watching
        with suppress(TimeoutError):
            async with asyncio.timeout(60):
                await soak.all_ended()
        listener.cancel()
        return soak, samples


def typical(samples: list[Sample]) -> Sample:
    """The median of each figure."""
    rows = zip(*(msgspec.structs.astuple(each) for each in samples), strict=True)
    return Sample(*(int(statistics.median(row)) for row in rows))


def verdict(soak: Soak, warm: Sample, last: Sample) -> list[str]:
    """What went wrong; nothing if all is well."""
    lost = soak.admitted - soak.ended.keys()
    twice = [task_id for task_id in soak.admitted if soak.ended[task_id] > 1]
    found = [*soak.faults[:20]]
    found += [f"{len(lost)} admitted tasks did not end"] if lost else []
    found += [f"{len(twice)} tasks ended more than once"] if twice else []
    if last.rss > warm.rss * GROWTH:
        found.append(f"memory grew from {warm.rss >> 20} to {last.rss >> 20} MiB")
    if last.descriptors > warm.descriptors + SLACK:
        found.append(f"descriptors grew from {warm.descriptors} to {last.descriptors}")
    if last.threads > warm.threads:
        found.append(f"threads grew from {warm.threads} to {last.threads}")
    return found


def main() -> None:
    """Print the figures; exit code 1 if anything grew, failed or was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument(
        "--pause-s", type=float, default=0.5, help="between two requests of a client"
    )
    options = parser.parse_args()
    with running_server(
        ["--preset", "embedded", "--log-level", "warning"], program=SERVER
    ) as server:
        seconds = options.minutes * 60
        soak, samples = asyncio.run(soaked(server, seconds, options.clients, options.pause_s))
        tenth = max(1, len(samples) // 10)
        warm, last = typical(samples[tenth : 2 * tenth]), typical(samples[-tenth:])
        log = server.log.read_text("utf-8")
    print(f"{options.minutes:g} minutes, {options.clients} clients")
    print(f"requests: {soak.statuses.total()}, by status: {dict(sorted(soak.statuses.items()))}")
    print(f"tasks admitted: {len(soak.admitted)}, streams hung up on: {soak.hung_up}")
    for name, at in (("warm", warm), ("last", last)):
        print(f"{name}: {at.rss / 2**20:.1f} MiB, {at.descriptors} fds, {at.threads} threads")
    print(f"lines in the server's log: {log.count(chr(10))}")
    if faults := verdict(soak, warm, last):
        print("\n".join(faults))
        print(log[-2000:])
        sys.exit(1)


if __name__ == "__main__":
    main()
