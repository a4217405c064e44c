"""What does admitting a task cost, with ten and with many tasks waiting?

    python -m bench.admission --baseline CHECKOUT

Milliseconds of the server's CPU for an asynchronous generate request, everything included: HTTP,
checks, the row and its commit, events. Both builds take turns, each ratio is to the baseline's
figure with ten waiting. The queue is paused, so nothing else runs.
"""

import argparse
import json
import sqlite3
import statistics
import uuid
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
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

    def admit(self, count: int) -> float:
        """Admit so many tasks on one connection; milliseconds of CPU of each."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        began = self.cpu_ns
        for _ in range(count):
            connection.request("POST", "/v1/engine/generate/", BODY, HEADERS)
            reply = connection.getresponse()
            text = reply.read()
            if reply.status != 200:
                raise RuntimeError(f"{reply.status} {text[:200]!r}")
        used = self.cpu_ns - began
        connection.close()
        return used / count / 1e6


def lengthen(folder: Path, waiting: int) -> None:
    """Copy a waiting task in the database of a server that has ended, for the next start."""
    ids = json.dumps([uuid.uuid4().hex for _ in range(waiting)])
    with closing(sqlite3.connect(folder / "outputs" / "db.sqlite3")) as connection, connection:
        connection.execute(
            "INSERT INTO generate_record (task_id, req_params, in_queue_mills, webhook_url)"
            " SELECT value, req_params, in_queue_mills, webhook_url FROM json_each(?),"
            " (SELECT * FROM generate_record WHERE task_status IS NULL LIMIT 1)",
            (ids,),
        )
        connection.execute(
            "INSERT INTO focal_task (task_id, base_url) SELECT value, '' FROM json_each(?)", (ids,)
        )


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
    figures: dict[tuple[str, int], float] = {}
    with ExitStack() as stack:
        folders = {name: Path(stack.enter_context(TemporaryDirectory())) for name in checkouts}
        for length in (SHORT, options.long):
            with ExitStack() as running:
                servers = {}
                for name, checkout in checkouts.items():
                    if length > SHORT:
                        lengthen(folders[name], length)
                    servers[name] = Filled(folders[name], checkout)
                    running.callback(servers[name].stop)
                    servers[name].admit(SHORT)
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
