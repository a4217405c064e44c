"""A start that fails says why in one line and ends with code 1."""

import os
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tools.server_process import ROOT, ServerProcess, free_port, running_server

pytestmark = [pytest.mark.process, pytest.mark.slow]

WAIT_S = 60.0


def failed_start(folder: Path, *options: str) -> str:
    """The line that a start writes before it fails."""
    command = [sys.executable, str(ROOT / "server.py"), "--preset", "embedded"]
    command += ["--device", "cpu", "--downloads", "forbid", *options]
    environment = {name: os.environ[name] for name in os.environ if not name.startswith("FOCAL_")}
    ended = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    lines = [line for line in ended.stderr.splitlines() if " INFO " not in line]
    assert (ended.returncode, ended.stdout, len(lines)) == (1, "", 1), ended.stderr
    assert lines[0].startswith("focal: ")
    return lines[0]


def port_option() -> tuple[str, str]:
    return "--port", str(free_port())


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        assert f"port {port} of 127.0.0.1 is taken" in failed_start(tmp_path, "--port", port)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1", "127.0.0.1,192.0.2.1"])
def test_a_host_of_another_machine(tmp_path: Path, host: str) -> None:
    line = failed_start(tmp_path, *port_option(), "--host", host)
    assert host.rpartition(",")[2] in line


def test_a_database_that_is_none(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    (outputs / "db.sqlite3").write_bytes(b"no database at all" * 100)
    line = failed_start(tmp_path, *port_option())
    assert "db.sqlite3 cannot be used: file is not a database" in line


def test_a_database_whose_pages_are_damaged(tmp_path: Path) -> None:
    with running_server(["--preset", "embedded", "--device", "cpu"], tmp_path):
        pass
    database = tmp_path / "outputs" / "db.sqlite3"
    data = database.read_bytes()
    database.write_bytes(data[:1024] + b"\xff" * (len(data) - 1024))
    assert "db.sqlite3" in failed_start(tmp_path, *port_option())


def test_a_database_of_a_newer_version(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    with closing(sqlite3.connect(outputs / "db.sqlite3")) as connection:
        connection.execute("PRAGMA user_version = 999")
    assert "update the server" in failed_start(tmp_path, *port_option())


def test_an_outputs_folder_that_another_server_has(tmp_path: Path) -> None:
    with running_server(["--preset", "embedded", "--device", "cpu"], tmp_path):
        assert "another server uses the outputs folder" in failed_start(tmp_path, *port_option())


def test_other_machines_without_a_key_are_warned_of(tmp_path: Path) -> None:
    options = ["--preset", "embedded", "--device", "cpu", "--host", "0.0.0.0"]
    for extra, warnings in (([], 1), (["--api-key", "secret"], 0)):
        folder = tmp_path / str(warnings)
        folder.mkdir()
        server = ServerProcess(folder, [*options, *extra])
        try:
            server.wait_for("/health")
        finally:
            server.stop()
        assert server.log.read_text().count("need no key") == warnings


def test_an_outputs_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("")
    assert "outputs" in failed_start(tmp_path, *port_option())
