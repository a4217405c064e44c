"""The server's process beside Ray: its start, its signals, and what it leaves behind."""

import time
from pathlib import Path

import psutil
import pytest

from tests.faults.house import until
from tools.server_process import ServerProcess

OPTIONS = ("--preset=embedded", "--downloads=forbid", "--workers=ray", "--ray-cpus-per-worker=1")
WAIT_S = 120.0

pytestmark = [pytest.mark.process]


def test_http_is_up_before_ray_and_sigterm_ends_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    server = ServerProcess(tmp_path, OPTIONS)
    try:
        server.wait_for("/health")
        health = server.get("/health")
        assert (health["status"], health["ready"]) == ("starting", False)
        assert [device["name"] for device in health["devices"]] == ["ray"]
        until(lambda: server.get("/health")["devices"][0]["name"] == "ray-1", WAIT_S)
        of_ray = psutil.Process(server.process.pid).children(recursive=True)
        assert of_ray
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < 10.0
    finally:
        server.process.kill()
    until(lambda: not any(process.is_running() for process in of_ray), WAIT_S)
    assert "*** SIGTERM" not in server.log.read_text()
    assert not (tmp_path / ".ray").exists()  # the token stays in memory
