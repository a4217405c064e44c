"""One outputs folder over many starts of a server, and an account of what clients were told."""

import http.server
import json
import signal
import sqlite3
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from tools.server_process import ROOT, ServerProcess

PROGRAM: Final = ROOT / "tests" / "faults" / "painting_server.py"
OPTIONS: Final = (
    "--preset",
    "embedded",
    "--downloads",
    "forbid",
    "--queue-size",
    "1000",
    "--allow-private-urls",
)
GENERATE: Final = "/v1/engine/generate/"
ENDED: Final = ("finished", "failed", "stop", "skip")
WAIT_S: Final = 60.0
DRAIN_S: Final = 240.0
_QUIET: Final = (urllib.error.URLError, ConnectionError, TimeoutError, OSError, ValueError)


class House:
    """Starts servers on one folder, remembers the tasks they accepted, and compares in the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.outputs = folder / "outputs"
        self.accepted: list[str] = []

    @contextmanager
    def serving(self, *options: str, prefix: Sequence[str] = ()) -> Iterator[ServerProcess]:
        """A server that is ready, killed with the block unless it has ended."""
        with self.starting(*options, prefix=prefix) as server:
            server.wait_until_ready()
            yield server

    @contextmanager
    def starting(self, *options: str, prefix: Sequence[str] = ()) -> Iterator[ServerProcess]:
        """A server that answers, ready or not. Raises RuntimeError if it does not."""
        server = ServerProcess(self.folder, [*OPTIONS, *options], program=PROGRAM, prefix=prefix)
        try:
            server.wait_for("/health")
            yield server
        finally:
            server.stop(signal.SIGKILL)

    def submit(self, server: ServerProcess, prompt: str = "a star", **params: object) -> str:
        """Queue a task; it counts as accepted once its id was answered."""
        body = {"prompt": prompt, "async_process": True, **params}
        task_id = str(server.post(GENERATE, body)["task_id"])
        self.accepted.append(task_id)
        return task_id

    def drained(self, server: ServerProcess) -> None:
        """Wait until nothing waits or runs."""
        until(lambda: not any(_busy(server)), DRAIN_S)

    def delivered(self, receiver: "Receiver") -> None:
        """Wait until the webhook of every accepted task has been received."""
        until(lambda: set(self.accepted) <= set(receiver.received))

    def losses(self, *, deaths: bool = False) -> list[str]:
        """Everything that is not as clients were told; the server has ended.

        ``deaths``: a task that died with the server twice may have failed for that.
        """
        found: list[str] = []
        with closing(sqlite3.connect(self.outputs / "db.sqlite3")) as database:
            rows = database.execute(
                "SELECT r.task_id, r.task_status, r.result, t.code FROM generate_record r"
                " LEFT JOIN focal_task t ON t.task_id = r.task_id"
            ).fetchall()
        counts = Counter(row[0] for row in rows)
        found += [
            f"{task_id} has {counts[task_id]} rows"
            for task_id in self.accepted
            if counts[task_id] != 1
        ]
        named: set[str] = set()
        for task_id, status, result, code in rows:
            if status not in ENDED:
                found.append(f"{task_id} is {status}")
            if status == "failed" and not (deaths and code == "worker_lost"):
                found.append(f"{task_id} failed with {code}")
            named |= {url.rpartition("/")[2] for url in json.loads(result or "[]")}
        there = {path.name for path in self.outputs.glob("????-??-??/*")}
        found += [f"{name} is gone" for name in sorted(named - there)]
        found += [f"{name} is nobody's" for name in sorted(there - named)]
        notes = self.outputs / ".unrecorded"
        found += [f"a note on {note.name} is left" for note in notes.glob("*")]
        return found


class Receiver:
    """A webhook's other side. ``deliver`` says with which status each call is answered."""

    def __init__(self) -> None:
        self.received: Counter[str] = Counter()
        self.answer: Callable[[], int] = lambda: 200
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status = receiver.answer()
                if status == 200:
                    receiver.received[body.get("task_id", "")] += 1
                if status:
                    self.send_response(status)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()


def until(fact: Callable[[], bool], seconds: float = WAIT_S) -> None:
    """Wait for a fact, looking twenty times a second."""
    end = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s")
        time.sleep(0.05)


def ended(server: ServerProcess, task_id: str) -> dict[str, Any]:
    """The record of a task, once it has ended."""

    def find() -> bool:
        record.update(server.get(f"/tasks/{task_id}"))
        return record["task_status"] in ENDED

    record: dict[str, Any] = {}
    until(find)
    return record


def runs(server: ServerProcess) -> None:
    """Wait until a task runs, or everything has ended."""
    until(lambda: bool(_busy(server)[0]) or not any(_busy(server)))


def refusal(call: Callable[[], object]) -> tuple[int, str]:
    """Status and code of the reply to a call that is refused."""
    try:
        call()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, str(json.load(error)["code"])
    raise AssertionError("it was not refused")


def status_of(server: ServerProcess) -> str:
    """What the server says of itself."""
    return str(server.get("/health")["status"])


def open_files(server: ServerProcess) -> int:
    """How many descriptors the process has."""
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def _busy(server: ServerProcess) -> tuple[list[Any], list[Any]]:
    queue = server.get("/tasks?query=all&page_size=1")
    return queue["current"], queue["pending"]
