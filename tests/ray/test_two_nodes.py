"""Two nodes of a cluster on this machine, with the embedded model on each; one dies at work."""

import contextlib
import secrets
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from tests.faults.house import until
from tools.server_process import ServerProcess, free_port, running_server

TASKS = 40
BEFORE = 12  # tasks that have ended when the node dies
STEPS = 2
OPTIONS = (
    "--preset",
    "embedded",
    "--downloads",
    "forbid",
    "--batch",
    "off",
    "--cpu-engine",
    "torch",
)
WAIT_S = 240.0

pytestmark = [pytest.mark.process]


class Nodes:
    """Raylets on this machine."""

    def __init__(self, folder: Path) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self._log = folder / "nodes.log"
        self._processes: list[subprocess.Popen[bytes]] = []
        self._start(
            "--head",
            "--port",
            self.address.rpartition(":")[2],
            "--num-cpus",
            "0",
            "--include-dashboard",
            "false",
        )

    def add(self) -> int:
        """A node of one core; its number."""
        return self._start("--address", self.address, "--num-cpus", "1")

    def kill(self, number: int) -> None:
        """End all processes of a node, as a power cut does."""
        process = psutil.Process(self._processes[number].pid)
        for each in (*process.children(recursive=True), process):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        self._processes[number].wait(WAIT_S)

    def close(self) -> None:
        """End all nodes."""
        for number, process in reversed([*enumerate(self._processes)]):
            if process.poll() is None:
                self.kill(number)

    def _start(self, *options: str) -> int:
        number = len(self._processes)
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *options, "--block"]
        command += ["--num-gpus", "0", "--disable-usage-stats"]
        with self._log.open("ab") as log:
            self._processes.append(subprocess.Popen(command, stdout=log, stderr=log))
        return number


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Nodes]:
    """A head for the server, which makes no pictures."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    nodes = Nodes(tmp_path)
    try:
        yield nodes
    finally:
        nodes.close()


def test_a_node_that_dies_loses_no_task_and_changes_no_picture(
    nodes: Nodes, tmp_path: Path
) -> None:
    for name in ("ray", "local"):
        (tmp_path / name).mkdir()
    options = [*OPTIONS, "--workers", f"ray://{nodes.address}"]
    with started_server(options, tmp_path / "ray") as server:
        first, _ = nodes.add(), nodes.add()  # they join a server that runs
        until(lambda: states(server) == ["ready", "ready"], WAIT_S)
        ids = [submit(server, seed) for seed in range(TASKS)]
        until(lambda: ended(server, ids) >= BEFORE, WAIT_S)
        nodes.kill(first)
        until(lambda: ended(server, ids) == TASKS, WAIT_S)
        until(lambda: len(states(server)) == 1, WAIT_S)  # the node's worker has left
        made = pictures(server, ids)
        assert len(list((tmp_path / "ray" / "outputs").glob("*/*.png"))) == TASKS
        assert server.stop() == 0
    with running_server([*OPTIONS, "--device", "cpu"], tmp_path / "local") as server:
        ids = [submit(server, seed) for seed in range(TASKS)]
        until(lambda: ended(server, ids) == TASKS, WAIT_S)
        assert pictures(server, ids) == made


@contextlib.contextmanager
def started_server(options: Sequence[str], folder: Path) -> Iterator[ServerProcess]:
    """A server that answers; nobody can make pictures yet."""
    server = ServerProcess(folder, options)
    try:
        server.wait_for("/health")
        yield server
    finally:
        server.stop(signal.SIGKILL)


def states(server: ServerProcess) -> list[str]:
    devices = server.get("/health")["devices"]
    return [device["state"] for device in devices if device["name"] != "ray"]


def submit(server: ServerProcess, seed: int) -> str:
    body = {
        "prompt": "a red star",
        "image_seed": seed,
        "async_process": True,
        "overwrite_step": STEPS,
    }
    return str(server.post("/v1/engine/generate/", body)["task_id"])


def ended(server: ServerProcess, ids: list[str]) -> int:
    """How many have ended."""
    health = server.get("/health")
    return len(ids) - int(health["pending"]) - int(health["running"])


def pictures(server: ServerProcess, ids: list[str]) -> list[bytes]:
    """The one picture of each task."""
    found = []
    for task_id in ids:
        record = server.get(f"/tasks/{task_id}")
        assert record["task_status"] == "finished"
        (url,) = record["result"]
        with urllib.request.urlopen(url) as reply:
            found.append(reply.read())
    return found
