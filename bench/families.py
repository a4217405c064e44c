"""What does a task cost to admit through another server's API, beside our own endpoint?

    python -m bench.families

Milliseconds of the server's CPU for a request that waits for its task, until the task is in the
queue: HTTP, checks, the row and its commit, events. The queue is paused, so nothing else runs, and
no reply is read. The APIs take turns on one server; each asks for the same picture. The ratio is
to our own endpoint in the same turn; the median of the turns is printed.
"""

import argparse
import json
import socket
import statistics
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from bench.measured_server import MeasuredServer

OPTIONS: Final = ["--preset", "embedded", "--device", "cpu", "--queue-size", "100000"]
OURS: Final = "our own"
WAIT_S: Final = 30.0
PAUSE_S: Final = 0.05  # between looks at the queue, which cost the same in every turn
REQUESTS: Final[Mapping[str, tuple[str, dict[str, Any]]]] = {
    OURS: (
        "/v1/engine/generate/",
        {
            "prompt": "a red star",
            "image_seed": 7,
            "style_selections": [],
            "aspect_ratios_selection": "256*256",
        },
    ),
    "fooocus-api": (
        "/v1/generation/text-to-image",
        {
            "prompt": "a red star",
            "image_seed": 7,
            "style_selections": [],
            "aspect_ratios_selection": "256*256",
        },
    ),
    "openai": ("/v1/images/generations", {"prompt": "a red star", "seed": 7, "size": "256x256"}),
    "a1111": (
        "/sdapi/v1/txt2img",
        {"prompt": "a red star", "seed": 7, "width": 256, "height": 256},
    ),
}


def waiting(server: MeasuredServer) -> int:
    """How many tasks wait."""
    count: int = server.get("/v1/queue?limit=1")["waiting"]
    return count


def admit(server: MeasuredServer, api: str, count: int) -> float:
    """Send so many requests through an API; milliseconds of CPU until all are queued, of each."""
    path, fields = REQUESTS[api]
    body = json.dumps(fields).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Length: {len(body)}"
    wanted, until = waiting(server) + count, time.monotonic() + WAIT_S
    began = server.cpu_ns
    with ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(
                socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_S)
            )
            connection.sendall(f"{head}\r\nContent-Type: application/json\r\n\r\n".encode() + body)
        time.sleep(PAUSE_S)
        while waiting(server) < wanted:
            if time.monotonic() > until:
                raise TimeoutError(f"{api}: not every request was admitted")
            time.sleep(PAUSE_S)
        used = server.cpu_ns - began
    return used / count / 1e6


def main() -> None:
    """Print a line for each API."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--count", type=int, default=40, help="requests of a turn")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        server = MeasuredServer(Path(folder), OPTIONS)
        try:
            server.wait_until_ready()
            server.post("/v1/queue/pause", {})
            for api in REQUESTS:
                admit(server, api, options.count)
            turns = [
                {api: admit(server, api, options.count) for api in REQUESTS}
                for _ in range(options.turns)
            ]
        finally:
            server.stop()
    print(f"{'':12}{'ms of CPU':>12}{'ratio':>8}")
    for api in REQUESTS:
        spent = statistics.median(turn[api] for turn in turns)
        ratio = statistics.median(turn[api] / turn[OURS] for turn in turns)
        print(f"{api:12}{spent:12.2f}{ratio:8.2f}")


if __name__ == "__main__":
    main()
