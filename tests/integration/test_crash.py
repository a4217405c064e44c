"""A real server process, killed and stopped in the middle of its work: nothing lost, none twice."""

import json
import signal
import sqlite3
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tools.server_process import ServerProcess

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

QUICK = {"prompt": "a red star", "async_process": True, "overwrite_step": 2}
LONG = {**QUICK, "overwrite_step": 200, "image_number": 8}
OPTIONS = ["--preset", "embedded", "--device", "cpu"]


@contextmanager
def server(folder: Path, *options: str) -> Iterator[ServerProcess]:
    process = ServerProcess(folder, [*OPTIONS, *options])
    try:
        process.wait_until_ready()
        yield process
    finally:
        process.stop(signal.SIGKILL)


def submit(process: ServerProcess, body: dict[str, object]) -> str:
    return str(process.post("/v1/engine/generate/", body)["task_id"])


def events_until(process: ServerProcess, query: str, wanted: str) -> dict[str, Any]:
    """Read the event stream until the first event of a type; the socket's time-out bounds it."""
    url = f"{process.url}/v1/events?{query}"
    with urllib.request.urlopen(url, timeout=120) as stream:
        for line in stream:
            if line.startswith(b"data: "):
                event: dict[str, Any] = json.loads(line[6:])
                if event["type"] == wanted:
                    return event
    raise AssertionError(f"the stream ended without {wanted}")


def ended_rows(folder: Path) -> list[tuple[str, str, int]]:
    with sqlite3.connect(folder / "outputs" / "db.sqlite3") as connection:
        return connection.execute(
            "SELECT task_id, task_status, finish_mills FROM generate_record ORDER BY id"
        ).fetchall()


def test_after_kill_9_every_task_ends_exactly_once_and_in_order(tmp_path: Path) -> None:
    with server(tmp_path) as first:
        running = submit(first, LONG)
        events_until(first, f"task_id={running}&since=0", "task.progress")
        waiting = [submit(first, QUICK) for _ in range(6)]
        first.stop(signal.SIGKILL)
    with server(tmp_path) as second:
        second.post(f"/v1/engine/control?action=stop&task_id={running}", {})
        events_until(second, f"task_id={waiting[-1]}&since=0", "task.finished")
        lists = second.get("/tasks?page_size=100")
    rows = ended_rows(tmp_path)
    assert [task_id for task_id, _, _ in rows] == [running, *waiting]
    assert [status for _, status, _ in rows] == ["stop"] + ["finished"] * 6
    ends = [finish for _, _, finish in rows]
    assert ends == sorted(ends)
    assert (lists["current"], lists["pending"]) == ([], [])
    assert len(lists["history"]) == 7


@pytest.mark.slow
def test_on_sigterm_the_queue_stays_for_the_next_start(tmp_path: Path) -> None:
    with server(tmp_path) as first:
        running = submit(first, LONG)
        events_until(first, f"task_id={running}&since=0", "task.progress")
        waiting = submit(first, QUICK)
        assert first.stop(signal.SIGTERM, seconds=10) == 0
    assert [row[1] for row in ended_rows(tmp_path)] == [None, None]
    assert not list((tmp_path / "outputs").glob("*/*.png"))  # the aborted task begins anew
    with server(tmp_path) as second:
        second.post(f"/v1/engine/control?action=stop&task_id={running}", {})
        events_until(second, f"task_id={waiting}&since=0", "task.finished")


@pytest.mark.slow
def test_a_second_server_of_one_outputs_folder_is_refused_and_disturbs_nothing(
    tmp_path: Path,
) -> None:
    with server(tmp_path) as first:
        first.post("/v1/queue/pause", {})
        waiting = submit(first, QUICK)
        second = ServerProcess(tmp_path, OPTIONS)
        try:
            assert second.process.wait(60) == 1
        finally:
            second.stop(signal.SIGKILL)
        assert "another server uses the outputs folder" in second.log.read_text()
        assert [task["task_id"] for task in first.get("/tasks")["pending"]] == [waiting]
        first.stop(signal.SIGKILL)
    with server(tmp_path) as third:  # what a killed server held is free
        assert [task["task_id"] for task in third.get("/tasks")["pending"]] == [waiting]


@pytest.mark.slow
def test_a_restart_can_mark_unfinished_tasks_failed_instead(tmp_path: Path) -> None:
    with server(tmp_path) as first:
        running = submit(first, LONG)
        first.stop(signal.SIGKILL)
    with server(tmp_path, "--on-restart", "fail") as second:
        record = second.get(f"/tasks/{running}")
    assert record["task_status"] == "failed"
    assert "restart" in record["error"]
