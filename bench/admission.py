"""What does admitting a task cost, with ten and with many tasks waiting?

    python -m bench.admission --baseline CHECKOUT

Milliseconds of the server's CPU for an asynchronous generate request, everything included: HTTP,
checks, the row and its commit, events. Both builds take turns, each ratio is to the baseline's
figure with ten waiting. The queue is paused, so nothing else runs.
"""

import argparse
import json
import statistics
import tempfile
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

from bench.measured_server import MeasuredServer
from tools.server_process import ROOT

SHORT: Final = 10
PREPARED: Final = ["--preset", "embedded", "--device", "cpu", "--queue-size", "100000"]
BODY: Final = json.dumps({"prompt": "a red star", "async_process": True, "preset": "embedded"})
HEADERS: Final = {"Content-Type": "application/json"}


class Filled(MeasuredServer):
    """A server whose queue is paused, with its CPU time before and after admissions."""

    def __init__(self, folder: Path, checkout: Path) -> None:
        super().__init__(folder, PREPARED, checkout=checkout)
        self.wait_until_ready()
        self.post("/v1/queue/pause", {})
        self.waiting = 0
        self._connection = HTTPConnection("127.0.0.1", self.port, timeout=60)

    def admit(self, count: int) -> float:
        """Admit so many tasks; milliseconds of CPU of each."""
        began = self.cpu_ns
        for _ in range(count):
            self._connection.request("POST", "/v1/engine/generate/", BODY, HEADERS)
            reply = self._connection.getresponse()
            text = reply.read()
            if reply.status != 200:
                raise RuntimeError(f"{reply.status} {text[:200]!r}")
        self.waiting += count
        return (self.cpu_ns - began) / count / 1e6


def main() -> None:
    """Print a line for each build and length of the queue."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--baseline", type=Path, help="checkout of the build to compare with")
    parser.add_argument("--long", type=int, default=10_000, help="waiting tasks of the long queue")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--count", type=int, default=50, help="admissions of a turn")
    options = parser.parse_args()
    checkouts = {"this build": ROOT}
    if options.baseline:
        checkouts["baseline"] = options.baseline.resolve()
    with ExitStack() as stack:
        servers = {}
        for name, checkout in checkouts.items():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            servers[name] = Filled(folder, checkout)
            stack.callback(servers[name].stop)
        figures: dict[tuple[str, int], float] = {}
        for length in (SHORT, options.long):
            for server in servers.values():
                server.admit(max(1, length - server.waiting))
            turns = [
                [server.admit(options.count) for server in servers.values()]
                for _ in range(options.turns)
            ]
            for name, column in zip(servers, zip(*turns, strict=True), strict=True):
                figures[name, length] = statistics.median(column)
    first = figures.get(("baseline", SHORT), figures["this build", SHORT])
    print(f"{'':12}{'waiting':>8}{'ms of CPU':>12}{'ratio':>8}")
    for (name, length), each in figures.items():
        print(f"{name:12}{length:8}{each:12.2f}{each / first:8.2f}")


if __name__ == "__main__":
    main()
