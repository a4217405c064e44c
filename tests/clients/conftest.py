"""A real server process with the embedded model, and environments with published clients."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.requirement import missing
from tools.server_process import ServerProcess

PROGRAMS = Path(__file__).parent / "programs"
INSTALL_S = 300
RUN_S = 240

Run = Callable[..., str]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    options = ["--preset", "embedded", "--device", "cpu", "--downloads", "forbid"]
    process = ServerProcess(tmp_path_factory.mktemp("clients"), options)
    try:
        process.wait_until_ready()
        yield process
    finally:
        process.stop()


@pytest.fixture(scope="session")
def run_client(pytestconfig: pytest.Config) -> Run:
    """``run_client("openai", url)``: run ``programs/use_openai.py`` with what its requirements pin.

    Returns what it printed; a program that fails fails the test with its output.
    """

    def run(name: str, *arguments: str) -> str:
        python = _environment(pytestconfig, PROGRAMS / f"requirements-{name}.txt")
        program = PROGRAMS / f"use_{name.replace('-', '_')}.py"
        done = subprocess.run(
            [str(python), str(program), *arguments],
            capture_output=True,
            text=True,
            timeout=RUN_S,
            check=False,
            env={**os.environ, "PYTHONUTF8": "1", "NO_PROXY": "127.0.0.1"},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def _environment(config: pytest.Config, requirements: Path) -> Path:
    """The interpreter of an environment with these packages, made once and kept in the cache."""
    assert config.cache is not None
    name = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:16]
    folder = config.cache.mkdir("clients") / name
    python, done = folder / "bin" / "python", folder / "done"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        installed = subprocess.run(
            [*pip, "-r", str(requirements)],
            capture_output=True,
            text=True,
            timeout=INSTALL_S,
            check=False,
        )
        if installed.returncode:
            missing(f"{requirements.name} cannot be installed: {installed.stderr[-500:]}")
        done.touch()
    return python
