"""What does it cost to tell 1,000 WebSocket clients, one of which never reads?

The server runs in this process, the clients on bare sockets in a second one, which only counts
what arrives. Our way: the bus and ``handlers.live.websocket``. The plain way: the same server,
aiohttp sockets, and ``for ws in sockets: await ws.send_str(json)``, serialised once an event. That
loop waits for ever on a client that never reads, so the plain way is measured without that one.
"""

import argparse
import asyncio
import multiprocessing
import resource
import selectors
import socket
import time
from multiprocessing.connection import Connection

import psutil
import uvloop
from aiohttp import web

from bus.bus import EventBus
from bus.events import TaskFinished, TaskImage
from bus.subscription import Event
from handlers.keys import BUS, EXECUTOR
from handlers.live.websocket import websocket
from pipeline.scheduling.executor import Executor
from pipeline.scheduling.storage import TaskStorage
from pipeline.scheduling.task import MadeImage, Outcome, Task

MARK = b"/outputs/the-last-one.png"
PING = b"\x89\x00"  # cannot stand inside a text frame of ours
PONG = b"\x8a\x80\x00\x00\x00\x00"
BURST = 32  # events that a step, a picture and the moving queue publish before the loop turns
HEAD = (
    b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


class NoPictures:
    """A picture store for tasks that never run."""

    def check(self) -> None:
        """They are always there."""

    def save(self, made: MadeImage, *, task_id: str) -> str:
        """Nothing is made here."""
        return f"{task_id}.{made.extension}"

    def delete(self, path: str) -> None:
        """Nothing was made."""


async def on_ended(task: Task, outcome: Outcome) -> None:
    """There are no rows here."""


def read_all(port: int, path: bytes, readers: int, pipe: Connection) -> None:
    """In the second process: connect, and report each time every reader has had a round's end."""
    selector = selectors.DefaultSelector()
    for _ in range(readers):
        opened = socket.create_connection(("127.0.0.1", port))
        opened.sendall(HEAD % path)
        if not opened.recv(4096).startswith(b"HTTP/1.1 101"):
            raise SystemExit("the server refused a WebSocket")
        opened.setblocking(False)
        selector.register(opened, selectors.EVENT_READ, bytearray())
    pipe.send("connected")
    ended = 0
    while True:
        for key, _ in selector.select():
            assert isinstance(key.fileobj, socket.socket)
            data = key.fileobj.recv(2**18)
            if not data:
                raise SystemExit("the server closed a reader's WebSocket")
            if PING in data:
                key.fileobj.sendall(PONG)
            tail: bytearray = key.data
            found = (bytes(tail) + data).count(MARK)
            tail[:] = data[-len(MARK) + 1 :] if not found else b""
            ended += found
            if ended == readers:
                pipe.send("heard")
                ended = 0


def event(index: int, *, last: bool) -> TaskImage | TaskFinished:
    """One that may not be lost; the last of a round bears the mark."""
    if last:
        return TaskFinished(images=(MARK.decode(),), seconds=1.0)
    return TaskImage(url=f"/outputs/2026-01-01/{index:08}.png", seed=index, index=0)


class Plain:
    """The baseline's sockets and its loop."""

    def __init__(self) -> None:
        self.sockets: set[web.WebSocketResponse] = set()

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """Hold a socket open."""
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        self.sockets.add(ws)
        async for _ in ws:
            pass
        self.sockets.discard(ws)
        return ws

    async def send(self, number: int, data: TaskImage | TaskFinished) -> None:
        """Tell every client, one after another."""
        text = Event(number, 0, "a", data).json.decode()
        for ws in self.sockets:
            await ws.send_str(text)


async def make_server(plain: Plain) -> tuple[web.AppRunner, EventBus, int]:
    """The two ways at two paths of one server."""
    app = web.Application()
    bus = app[BUS] = EventBus(asyncio.get_running_loop())
    app[EXECUTOR] = Executor(bus, (), TaskStorage(NoPictures(), on_ended), queue_limit=1)
    app.add_routes([web.get("/ws", websocket), web.get("/plain", plain.handle)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=2048)
    await site.start()
    return runner, bus, runner.addresses[0][1]


async def wait_for(pipe: Connection, word: str) -> None:
    """Wait for the readers' report."""
    said = await asyncio.wait_for(asyncio.to_thread(pipe.recv), 120)
    if said != word:
        raise SystemExit(f"the readers said {said!r}")


async def time_rounds(
    way: str, events: int, burst: int, pipe: Connection, bus: EventBus, plain: Plain
) -> tuple[float, float]:
    """Send ``events`` in bursts, each heard by all before the next: wall and CPU seconds."""
    started, cpu = time.perf_counter(), time.process_time()
    for first in range(0, events, burst):
        for index in range(first, first + burst):
            data = event(index, last=index == first + burst - 1)
            if way == "ours":
                bus.publish(data, "a")
            else:
                await plain.send(index, data)
        await wait_for(pipe, "heard")
    return time.perf_counter() - started, time.process_time() - cpu


async def measure(way: str, readers: int, events: int) -> dict[int, tuple[float, float]]:
    """Seconds (wall, CPU) of one way by size of burst."""
    plain = Plain()
    runner, bus, port = await make_server(plain)
    path = b"/ws" if way == "ours" else b"/plain"
    here, there = multiprocessing.get_context("spawn").Pipe()
    client = multiprocessing.get_context("spawn").Process(
        target=read_all, args=(port, path, readers, there), daemon=True
    )
    client.start()
    there.close()  # so that the readers' end is heard as an EOFError
    await wait_for(here, "connected")
    stuck = await open_stuck(port) if way == "ours" else None
    memory = psutil.Process().memory_info
    before = memory().rss
    await time_rounds(way, 2 * BURST, BURST, here, bus, plain)  # warm-up
    found = {
        burst: await time_rounds(way, events // burst * burst, burst, here, bus, plain)
        for burst in (BURST, 1)
    }
    print(f"{way:6} RSS {before / 2**20:.0f} -> {memory().rss / 2**20:.0f} MiB", end="")
    print(f", open mailboxes at the end: {bus.subscribers}" if stuck else "")
    client.kill()
    if stuck:
        stuck.close()
    bus.close()
    await runner.cleanup()
    return found


async def open_stuck(port: int) -> socket.socket:
    """The client that never reads, with little room in its kernel buffer."""
    stuck = socket.socket()
    stuck.setblocking(False)
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(stuck, ("127.0.0.1", port))
    await loop.sock_sendall(stuck, HEAD % b"/ws")
    return stuck


def main() -> None:
    """Print deliveries a second of both ways and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=1000, help="one of them never reads (ours)")
    parser.add_argument("--events", type=int, default=320)
    options = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    readers = options.clients - 1
    results = {way: uvloop.run(measure(way, readers, options.events)) for way in ("plain", "ours")}
    print(f"{readers} readers; goal: ours >= 2x plain deliveries a second in bursts")
    print("burst   way     deliveries/s  CPU us/delivery")
    for burst in (BURST, 1):
        count = options.events // burst * burst * readers
        for way, found in results.items():
            wall, cpu = found[burst]
            print(f"{burst:5}   {way:6}  {count / wall:12,.0f}  {cpu / count * 1e6:15.2f}")
        plain, ours = results["plain"][burst], results["ours"][burst]
        print(f"        ratio   {plain[0] / ours[0]:12.2f}  {plain[1] / ours[1]:15.2f}")


if __name__ == "__main__":
    main()
