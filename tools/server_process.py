"""Starts a real server process and waits until it answers; for tests, benchmarks and scripts."""

import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
START_SECONDS: Final = 90.0


class ServerProcess:
    """One ``server.py``, or another ``program`` with its options, on a port of its own.

    Its data lie under ``folder``. Not thread-safe.
    """

    def __init__(
        self,
        folder: Path,
        arguments: Sequence[str] = (),
        *,
        program: Path = ROOT / "server.py",
        port: int = 0,
        prefix: Sequence[str] = (),
    ) -> None:
        """``prefix`` is a command that runs the server, such as one that limits it."""
        self.folder = folder
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "server.log"
        command = [*prefix, sys.executable, str(program), "--port", str(self.port)]
        command += ["--outputs-dir", str(folder / "outputs")]
        command += ["--inputs-dir", str(folder / "inputs"), *arguments]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)  # noqa: S603

    def get(self, path: str, timeout: float = 30.0) -> Any:
        """GET a JSON reply. Raises urllib.error.URLError."""
        with urllib.request.urlopen(self.url + path, timeout=timeout) as reply:  # noqa: S310
            return json.load(reply)

    def post(self, path: str, body: object, timeout: float = 120.0) -> Any:
        """POST JSON and read a JSON reply. Raises urllib.error.URLError."""
        data = json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method="POST")  # noqa: S310
        with urllib.request.urlopen(request, timeout=timeout) as reply:  # noqa: S310
            return json.load(reply)

    def wait_for(self, path: str, seconds: float = START_SECONDS) -> float:
        """Seconds until a GET of ``path`` succeeds. Raises RuntimeError with the log if never."""
        started = time.perf_counter()
        while time.perf_counter() - started < seconds:
            if self.process.poll() is not None:
                break
            try:
                self.get(path, timeout=5.0)
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.02)
            else:
                return time.perf_counter() - started
        raise RuntimeError(f"the server did not answer {path}:\n{self.log.read_text()[-4000:]}")

    def wait_until_ready(self) -> float:
        """Seconds until the server can make pictures."""
        return self.wait_for("/health?ready=1")

    def stop(self, how: signal.Signals = signal.SIGTERM, seconds: float = 30.0) -> int:
        """Send a signal and wait for the end; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(seconds)
            raise


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def running_server(
    arguments: Sequence[str] = (),
    folder: Path | None = None,
    *,
    program: Path = ROOT / "server.py",
) -> Iterator[ServerProcess]:
    """A server that is ready to make pictures, ended with the block."""
    with tempfile.TemporaryDirectory() as scratch:
        server = ServerProcess(folder or Path(scratch), arguments, program=program)
        try:
            server.wait_until_ready()
            yield server
        finally:
            server.stop()
