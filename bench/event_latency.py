"""How long after a step's end does a client hear of it while the server generates?

Counted from the report on the device thread, so the hop to the event loop is part of it. The server
is ``bench.stamping_server``, whose clock is the client's.
"""

import argparse
import asyncio
import re
import statistics
import time
from collections.abc import Sequence

import aiohttp
import msgspec

from tools.server_process import ROOT, running_server

PROGRAM = ROOT / "bench" / "stamping_server.py"
ARGUMENTS = ["--preset", "embedded", "--batch", "off"]  # a step of each task at its own time
GOAL_MS = 3.3
FOLLOWED = ("task.progress", "task.finished", "task.failed")
LAG_BUCKET = re.compile(r'^focal_event_loop_lag_seconds_bucket\{le="(\S+)"\} (\S+)$', re.MULTILINE)


class Message(msgspec.Struct):
    """Of a progress event, the time of its step in nanoseconds."""

    message: str = ""


class Event(msgspec.Struct):
    """The part of an event that is looked at here."""

    type: str
    task_id: str | None
    data: Message


_decode = msgspec.json.Decoder(Event).decode


class Heard:
    """What one client heard: delays in milliseconds, and the tasks that have ended."""

    def __init__(self) -> None:
        self.delays: list[float] = []
        self.ended: asyncio.Queue[str | None] = asyncio.Queue()

    def note(self, data: bytes) -> None:
        """Take the time before decoding, which is the client's own work."""
        now = time.monotonic_ns()
        event = _decode(data)
        if event.type == "task.progress" and event.data.message.isdigit():
            self.delays.append((now - int(event.data.message)) / 1e6)
        elif event.type in FOLLOWED:
            self.ended.put_nowait(event.task_id)


async def listen_ws(session: aiohttp.ClientSession, heard: Heard, ready: asyncio.Event) -> None:
    """Hear everything over a WebSocket."""
    query = {"types": ",".join(FOLLOWED)}
    async with session.ws_connect("/ws", params=query, max_msg_size=0) as ws:
        await ws.receive()  # the greeting
        ready.set()
        async for message in ws:
            heard.note(message.data.encode())


async def listen_sse(session: aiohttp.ClientSession, heard: Heard, ready: asyncio.Event) -> None:
    """Hear everything over server-sent events."""
    query = {"types": ",".join(FOLLOWED)}
    async with session.get("/v1/events", params=query) as response:
        response.raise_for_status()
        ready.set()
        async for line in response.content:
            if line.startswith(b"data: "):
                heard.note(line[6:])


async def measure(url: str, options: argparse.Namespace) -> tuple[dict[str, Heard], str]:
    """Queue the tasks, listen both ways until the last has ended; delays, and the loop's lag."""
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(url, timeout=timeout) as session:
        heard = {"WebSocket": Heard(), "SSE": Heard()}
        ready = [asyncio.Event(), asyncio.Event()]
        listeners = [
            asyncio.create_task(listen_ws(session, heard["WebSocket"], ready[0])),
            asyncio.create_task(listen_sse(session, heard["SSE"], ready[1])),
        ]
        async with asyncio.timeout(options.seconds):
            for event in ready:
                await event.wait()
            before = await read_lag(session)
            ours = {await queue_task(session, seed) for seed in range(options.tasks)}
            for client in heard.values():
                await wait_for_ends(client, set(ours))
        for listener in listeners:
            listener.cancel()
        await asyncio.gather(*listeners, return_exceptions=True)
        after = await read_lag(session)
        return heard, describe_lag({bound: after[bound] - before.get(bound, 0) for bound in after})


async def queue_task(session: aiohttp.ClientSession, seed: int) -> str:
    """Queue one picture and return its id."""
    body = {"prompt": "a red star on a blue background", "image_seed": seed, "async_process": True}
    async with session.post("/v1/engine/generate/", json=body) as answer:
        answer.raise_for_status()
        task_id: str = (await answer.json())["task_id"]
        return task_id


async def wait_for_ends(heard: Heard, task_ids: set[str]) -> None:
    """Return when all these tasks have ended."""
    while task_ids:
        task_ids.discard(await heard.ended.get() or "")


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of them do not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


async def read_lag(session: aiohttp.ClientSession) -> dict[float, float]:
    """The server's own histogram of its loop's lag: samples up to each bound, in seconds."""
    async with session.get("/metrics") as answer:
        found = LAG_BUCKET.findall(await answer.text())
    return {float(bound): float(count) for bound, count in found}


def describe_lag(buckets: dict[float, float]) -> str:
    """The bounds that half and 99 % of the samples keep."""
    count = max(buckets.values(), default=0.0)
    if not count:
        return "/metrics tells no event loop lag"
    p50, p99 = (
        next(bound for bound, seen in sorted(buckets.items()) if seen >= share * count)
        for share in (0.5, 0.99)
    )
    return f"event loop lag: p50 <= {1e3 * p50:g} ms, p99 <= {1e3 * p99:g} ms, {count:.0f} samples"


def main() -> None:
    """Print the delays, and the loop lag that the server itself saw meanwhile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=600, help="give up after")
    options = parser.parse_args()
    with running_server(ARGUMENTS, program=PROGRAM) as server:
        heard, lag = asyncio.run(measure(server.url, options))
    print(f"goal: p99 <= {GOAL_MS:g} ms")
    print("client      events   p50 ms   p99 ms   max ms")
    for name, client in heard.items():
        delays = client.delays or [float("nan")]
        p50, p99 = statistics.median(delays), percentile(delays, 0.99)
        print(f"{name:10} {len(client.delays):7} {p50:8.2f} {p99:8.2f} {max(delays):8.2f}")
    print(lag)


if __name__ == "__main__":
    main()
