"""The documented client programs, as users copied them, against a real server process.

Only the address is another one. ``matplotlib`` is a stub that prints what it would draw.
"""

import ast
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bus.events import TERMINAL
from tools.server_process import ServerProcess

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

CLIENTS = Path(__file__).parent.parent / "seed_clients"
DOCUMENTED_ADDRESS = "http://127.0.0.1:7866"
ENDS = [kind.type for kind in TERMINAL]
RECORD = ["id", "task_id", "req_params", "in_queue_mills", "start_mills", "finish_mills"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("seed_clients")
    process = ServerProcess(folder, ["--preset", "embedded", "--device", "cpu"])
    try:
        process.wait_until_ready()
        yield process
    finally:
        process.stop(signal.SIGKILL)


def run(client: str, server: ServerProcess, folder: Path) -> list[str]:
    """Run a client program; the lines it printed."""
    source = (CLIENTS / f"{client}.py").read_text(encoding="utf-8")
    assert source.count(DOCUMENTED_ADDRESS) == 1
    program = folder / f"{client}.py"
    program.write_text(source.replace(DOCUMENTED_ADDRESS, server.url), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(CLIENTS / "stubs"), "PYTHONUTF8": "1"}
    done = subprocess.run(
        [sys.executable, str(program)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def picture(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as answer:
        data: bytes = answer.read()
    return data


def wait_for_end(server: ServerProcess, task_id: str) -> None:
    """Read the task's events, those of the past too, until it has ended; it must have finished."""
    url = f"{server.url}/v1/events?task_id={task_id}&since=0&types={','.join(ENDS)}"
    with urllib.request.urlopen(url, timeout=120) as stream:
        end = next(line for line in stream if line.startswith(b"event: task."))
    assert end.strip() == b"event: task.finished"


def is_finished(record: dict[str, Any]) -> bool:
    """Has a record the shape that the document shows for an ended task?"""
    assert set(RECORD) <= set(record)
    assert record["id"] >= 1
    assert record["progress"] == 100
    assert record["in_queue_mills"] <= record["start_mills"] <= record["finish_mills"]
    assert record["req_params"]["performance_selection"] == "Lightning"
    assert record["req_params"]["image_seed"] >= 0
    assert record["webhook_url"] == ""
    (url,) = record["result"]
    assert "/outputs/" in url
    assert picture(url).startswith(b"\x89PNG")
    return bool(record["task_status"] == "finished")


def test_the_asynchronous_client_gets_an_id_and_finds_its_task(
    server: ServerProcess, tmp_path: Path
) -> None:
    (line,) = run("async_task", server, tmp_path)
    reply: dict[str, Any] = ast.literal_eval(line)
    task_id = reply.pop("task_id")
    assert len(task_id) == 32
    assert reply == {
        "id": -1,
        "req_params": {},
        "in_queue_mills": -1,
        "start_mills": -1,
        "finish_mills": -1,
        "task_status": "pending",
        "progress": -1,
        "preview": "",
        "webhook_url": "",
        "result": [],
    }
    wait_for_end(server, task_id)
    assert is_finished(server.get(f"/tasks/{task_id}"))


def test_the_first_streaming_client_prints_every_event(
    server: ServerProcess, tmp_path: Path
) -> None:
    lines = run("stream_raw", server, tmp_path)
    events = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert all(line.startswith("data: {") for line in lines)
    assert_stream(events)


def test_the_second_streaming_client_understands_every_event(
    server: ServerProcess, tmp_path: Path
) -> None:
    events = [ast.literal_eval(line) for line in run("stream_parsed", server, tmp_path)]
    assert_stream(events)
    previews = {event["preview"] for event in events}
    assert previews <= {None, "data:image/png;base64,iVBORw0KGgoAAAANSU..."}


def assert_stream(events: list[dict[str, Any]]) -> None:
    messages = [event["message"] for event in events]
    progress = [event["progress"] for event in events]
    assert all(list(event) == ["progress", "preview", "message", "images"] for event in events)
    assert progress == sorted(progress)
    assert messages[-1] == "Finished"
    assert messages.count("Finished") == 1
    assert "Sampling step 4/4, image 1/1 ..." in messages
    assert messages[-2] == "Saving image 1/1 to system ..."
    assert progress[-1] == 100
    assert any(event["preview"] is not None for event in events)
    (url,) = events[-1]["images"]
    assert picture(url).startswith(b"\x89PNG")


def test_the_binary_client_shows_a_picture(server: ServerProcess, tmp_path: Path) -> None:
    drawn, shown = run("binary", server, tmp_path)
    word, kind, width, height = drawn.split()
    assert (word, kind, shown) == ("imshow", "PNG", "show")
    assert int(width) >= 64
    assert int(height) >= 64


def test_the_synchronous_client_gets_what_a_query_by_id_gives(
    server: ServerProcess, tmp_path: Path
) -> None:
    (line,) = run("sync", server, tmp_path)
    record: dict[str, Any] = ast.literal_eval(line)
    assert is_finished(record)
    assert record == server.get(f"/tasks/{record['task_id']}")
