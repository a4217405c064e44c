"""A real server process with the embedded model, and environments with published clients."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.environment import python_with
from tools.server_process import ServerProcess, running_server

PROGRAMS = Path(__file__).parent / "programs"
RUN_S = 240

Run = Callable[..., str]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    options = ["--preset", "embedded", "--device", "cpu", "--downloads", "forbid"]
    with running_server(options, tmp_path_factory.mktemp("clients")) as process:
        yield process


@pytest.fixture(scope="session")
def run_client(pytestconfig: pytest.Config) -> Run:
    """``run_client("openai", url)``: run ``programs/use_openai.py`` with what its requirements pin.

    Returns what it printed; a program that fails fails the test with its output.
    """

    def run(name: str, *arguments: str) -> str:
        python = python_with(pytestconfig, PROGRAMS / f"requirements-{name}.txt")
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
