"""How a server process ends: in order after one signal, at once after two."""

import json
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tools.server_process import ROOT, ServerProcess

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

PROGRAM = ROOT / "tests" / "integration" / "stubborn_server.py"
AT_ONCE_S = 3.0
IN_ORDER_S = 10.0
TASK = {"prompt": "a red star"}


@contextmanager
def stubborn_server(folder: Path) -> Iterator[ServerProcess]:
    process = ServerProcess(folder, ["--preset", "embedded"], program=PROGRAM)
    try:
        process.wait_until_ready()
        yield process
    finally:
        process.stop(signal.SIGKILL)


def begin(process: ServerProcess) -> str:
    """Queue a task and wait until the device has it."""
    task_id = str(process.post("/v1/engine/generate/", {**TASK, "async_process": True})["task_id"])
    url = f"{process.url}/v1/events?task_id={task_id}&since=0"
    with urllib.request.urlopen(url, timeout=30) as stream:
        for line in stream:
            if line.startswith(b"data: ") and json.loads(line[6:])["type"] == "task.progress":
                return task_id
    raise AssertionError("the task did not begin")


def is_quiet(process: ServerProcess) -> bool:
    """No traceback, no abort, no core dump."""
    log = process.log.read_text()
    noise = [word for word in ("Traceback", "Fatal", "terminate", "Exception") if word in log]
    return not noise and not list(process.folder.glob("core*"))


class Waiting(threading.Thread):
    """A client that waits for its picture."""

    def __init__(self, process: ServerProcess) -> None:
        super().__init__(daemon=True)
        self._process = process
        self.answer: tuple[int, Any] | None = None

    def run(self) -> None:
        """Post, and keep the answer."""
        try:
            self._process.post("/v1/engine/generate/", TASK, timeout=60)
        except urllib.error.HTTPError as error:
            self.answer = error.code, json.load(error)


def test_one_signal_ends_the_server_in_order_although_its_device_does_not_come_back(
    tmp_path: Path,
) -> None:
    with stubborn_server(tmp_path) as server:
        running = begin(server)
        client = Waiting(server)
        client.start()
        while not server.get("/tasks?query=pending")["pending"]:
            pass  # asking takes its time
        started = time.perf_counter()
        assert server.stop(signal.SIGTERM, seconds=30) == 0
        assert time.perf_counter() - started < IN_ORDER_S
        assert is_quiet(server), server.log.read_text()
        client.join(5)
        assert client.answer is not None
        assert (client.answer[0], client.answer[1]["code"]) == (503, "server_stopping")
    with stubborn_server(tmp_path) as again:  # both tasks are there for the next start
        tasks = again.get("/tasks")
        left = [*tasks["current"], *tasks["pending"]]
        assert left[0]["task_id"] == running
        assert len(left) == 2


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        (signal.SIGTERM, signal.SIGTERM, 143),
        (signal.SIGINT, signal.SIGINT, 130),
        (signal.SIGTERM, signal.SIGINT, 130),
    ],
)
def test_a_second_signal_ends_it_at_once_and_quietly(
    tmp_path: Path, first: signal.Signals, second: signal.Signals, code: int
) -> None:
    with stubborn_server(tmp_path) as server:
        begin(server)
        server.process.send_signal(first)
        while "shutting down" not in server.log.read_text():
            assert server.process.poll() is None
        started = time.perf_counter()
        assert server.stop(second, seconds=30) == code
        assert time.perf_counter() - started < AT_ONCE_S
        assert is_quiet(server), server.log.read_text()


def test_a_task_that_kills_the_server_twice_is_not_run_a_third_time(tmp_path: Path) -> None:
    with stubborn_server(tmp_path) as server:
        body = {"prompt": "die", "async_process": True}
        deadly = server.post("/v1/engine/generate/", body)["task_id"]
        assert server.process.wait(30) == 9
    second = ServerProcess(tmp_path, ["--preset", "embedded"], program=PROGRAM)
    try:
        assert second.process.wait(30) == 9
    finally:
        second.stop(signal.SIGKILL)
    with stubborn_server(tmp_path) as third:
        assert third.post("/v1/engine/generate/", {"prompt": "live"})["task_status"] == "finished"
        record = third.get(f"/tasks/{deadly}")
    assert (record["task_status"], record["code"]) == ("failed", "worker_lost")


def test_an_address_in_use_ends_the_start_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    with stubborn_server(tmp_path) as server:
        second = ServerProcess(
            tmp_path / "second", ["--preset", "embedded"], program=PROGRAM, port=server.port
        )
        try:
            assert second.process.wait(30) == 1
        finally:
            second.stop(signal.SIGKILL)
        assert "address already in use" in second.log.read_text()
        assert is_quiet(second), second.log.read_text()
