"""What does a route cost beside a bare aiohttp handler that answers with the same bytes?

CPU time of the server processes, which take turns. The picture's baseline is ``web.FileResponse``.
"""

import argparse
import random
import statistics
import tempfile
import time
from http.client import HTTPConnection
from itertools import cycle, islice
from pathlib import Path
from typing import Final, NamedTuple

from bench.measured_server import MeasuredServer

DATE: Final = "2026-11-23"
PICTURE: Final = f"{DATE}_00-00-00_0001.png"
PICTURE_BYTES: Final = 100_000
BODY: Final = {"prompt": "a red star on a blue background", "async_process": True}
ENDED: Final = 400  # more pages of ten than answers are kept
WAITING: Final = 10
PAGE: Final = 10  # records


class Route(NamedTuple):
    """Paths of the server in turn, that of the same bytes on the bare one, the goal of the ratio.

    The replies to ``paths`` are of one length, give or take some digits.
    """

    title: str
    paths: list[str]
    bare: str
    goal: float


def prepare(server: MeasuredServer) -> list[Route]:
    """Some ended tasks, some that wait, and a picture."""
    server.wait_until_ready()
    picture = server.folder / "outputs" / DATE / PICTURE
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + random.Random(1).randbytes(PICTURE_BYTES))
    ids = [server.post("/v1/engine/generate/", BODY)["task_id"] for _ in range(ENDED)]
    while server.get("/health")["pending"] + server.get("/health")["running"]:
        time.sleep(0.05)
    server.post("/v1/queue/pause", {})
    for _ in range(WAITING):
        server.post("/v1/engine/generate/", BODY)
    tasks = [f"/tasks/{each}" for each in ids]
    pages = [f"/tasks?query=history&page={page}" for page in range(ENDED // PAGE)]
    return [
        Route("GET /tasks/{id}, ended", tasks[:1], "/json/task", 2.5),
        Route("  another one each time", tasks, "/json/task", 2.5),
        Route("GET /tasks?query=history, 10", pages[:1], "/json/history", 2.5),
        Route("  another page each time", pages, "/json/history", 2.5),
        Route("GET /v1/queue, 10 waiting", ["/v1/queue"], "/json/queue", 2.5),
        Route("GET /health", ["/health"], "/json/health", 2.5),
        Route("GET /outputs/….png, 100 kB", [f"/outputs/{DATE}/{PICTURE}"], "/file/picture", 1.1),
    ]


def keep_bytes(server: MeasuredServer, routes: list[Route], folder: Path) -> None:
    """Write each route's reply to where the bare server finds it."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    folder.mkdir(parents=True)
    for route in routes:
        (folder / route.bare.rpartition("/")[2]).write_bytes(fetch(connection, route.paths[0]))
    connection.close()


def fetch(connection: HTTPConnection, path: str) -> bytes:
    """The body. Raises RuntimeError for a reply that is not 200."""
    connection.request("GET", path)
    reply = connection.getresponse()
    body = reply.read()
    if reply.status != 200:
        raise RuntimeError(f"{path}: {reply.status} {body[:200]!r}")
    return body


def cpu_each(server: MeasuredServer, paths: list[str], count: int) -> float:
    """Microseconds of the server's CPU time a request, on one connection."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    fetch(connection, paths[0])
    began = server.cpu_ns
    for path in islice(cycle(paths), count):
        fetch(connection, path)
    used = server.cpu_ns - began
    connection.close()
    return used / count / 1000


def main() -> None:
    """Print a line for each route."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="requests of a turn")
    parser.add_argument("--turns", type=int, default=7)
    options = parser.parse_args()
    print(f"{'us of CPU a request':32}{'ours':>8}{'bare':>8}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = MeasuredServer(folder, ["--queue-size", "1000"], program="bench/idle_server.py")
        bare = None
        try:
            routes = prepare(server)
            keep_bytes(server, routes, folder / "bare" / "outputs")
            bare = MeasuredServer(folder / "bare", program="bench/bare_server.py")
            bare.wait_for("/health")
            for route in routes:
                pairs = [
                    (
                        cpu_each(server, route.paths, options.count),
                        cpu_each(bare, [route.bare], options.count),
                    )
                    for _ in range(options.turns)
                ]
                ours, plain = (statistics.median(column) for column in zip(*pairs, strict=True))
                ratio = statistics.median(a / b for a, b in pairs)
                print(
                    f"{route.title:32}{ours:8.0f}{plain:8.0f}   x {ratio:.2f} (goal {route.goal})"
                )
        finally:
            server.stop()
            if bare is not None:
                bare.stop()


if __name__ == "__main__":
    main()
