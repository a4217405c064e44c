"""A full disk, a locked database, an outputs folder that vanishes, pictures that stay."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import urllib.error
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.faults.conftest import Account
from tests.faults.house import House, ended, refusal, runs, status_of, until

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(600)]

MIB = 2**20
TIMES = 3


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A file system of its own of so many bytes; needs root."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a small disk can be mounted by root only")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Leave no byte free."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (MIB, 4096, 1):
            try:
                while file.write(b"\0" * size):
                    pass
            except OSError:
                continue
    return ballast


def test_a_full_disk(house: House, account: Account) -> None:
    with small_disk(house.outputs, 24 * MIB) as disk, house.serving() as server:
        for _ in range(TIMES):
            running = house.submit(server, "steps 150")
            waiting = house.submit(server, "steps 1")
            runs(server)
            ballast = fill(disk)
            assert refusal(lambda: house.submit(server)) == (507, "disk_full")
            until(lambda: status_of(server) == "degraded")
            for task_id in (running, waiting):
                assert ended(server, task_id)["code"] == "disk_full"
                house.accepted.remove(task_id)  # told to have failed
            ballast.unlink()
            until(lambda: status_of(server) == "ready")
            house.submit(server)
            house.drained(server)
        told = server.get("/tasks?query=history&page_size=100")["history"]
        assert server.stop(signal.SIGTERM) == 0
        lost = [line for line in house.losses() if "failed with disk_full" not in line]
        assert len(told) == 3 * TIMES
    account("the disk is full, then has room again", TIMES, lost)


def test_a_full_disk_and_a_kill(house: House, account: Account) -> None:
    """What was told while the disk was full is known to the next start, from the journal."""
    with small_disk(house.outputs, 24 * MIB) as disk:
        with house.serving() as server:
            task_id = house.submit(server, "steps 100")
            runs(server)
            ballast = fill(disk)
            assert ended(server, task_id)["code"] == "disk_full"
            server.stop(signal.SIGKILL)
        ballast.unlink()
        with house.serving() as server:
            record = server.get(f"/tasks/{task_id}")
            server.stop(signal.SIGTERM)
        lost = [] if record["code"] == "disk_full" else [f"{task_id} is {record['task_status']}"]
        lost += [line for line in house.losses() if "failed with disk_full" not in line]
    account("the disk is full, then `kill -9`", 1, lost)


def test_deleting_on_a_full_disk(house: House, account: Account) -> None:
    """It is what makes room."""
    with small_disk(house.outputs, 24 * MIB) as disk, house.serving() as server:
        for _ in range(3):
            house.submit(server, "bytes 2000000")
        house.drained(server)
        fill(disk)
        until(lambda: status_of(server) == "degraded")
        reply = server.get("/tasks?query=history&start_at=2000-01-01&action=delete")
        assert len(reply["history"]) == 3
        until(lambda: status_of(server) == "ready")
        house.accepted.clear()
        house.submit(server)
        house.drained(server)
        assert server.stop(signal.SIGTERM) == 0
        lost = house.losses()
    account("a range is deleted on a full disk", 1, lost)


def test_one_task_is_deleted_on_a_full_disk(house: House, account: Account) -> None:
    """There may be room for its row or not: it is gone, or still there and the reason is told."""
    with small_disk(house.outputs, 24 * MIB) as disk, house.serving() as server:
        task_id = house.submit(server, "bytes 2000000")
        house.drained(server)
        ballast = fill(disk)
        until(lambda: status_of(server) == "degraded")
        code = ""
        try:
            server.post(f"/tasks/{task_id}/delete", {})
        except urllib.error.HTTPError as error:
            with error:
                code = json.load(error)["code"]
        assert code in ("", "disk_full")
        listed = [each["task_id"] for each in server.get("/tasks?query=history")["history"]]
        assert listed == ([task_id] if code else [])
        server.post(f"/tasks/{task_id}/restore", {})  # of a task that is there: no change
        ballast.unlink()
        until(lambda: status_of(server) == "ready")
        assert server.stop(signal.SIGTERM) == 0
        lost = house.losses()
    account("one task is deleted on a full disk", 1, lost)


def test_a_start_on_a_full_disk(house: House, account: Account) -> None:
    """It answers, is degraded, and what the keep options delete makes room."""
    with small_disk(house.outputs, 24 * MIB) as disk:
        with house.serving() as server:
            for _ in range(3):
                house.submit(server, "bytes 2000000")
            house.drained(server)
            assert server.stop(signal.SIGTERM) == 0
        fill(disk)
        with house.starting() as server:
            assert len(server.get("/tasks?query=history")["history"]) == 3
            assert server.get("/health")["status"] in ("starting", "degraded")
            assert refusal(lambda: house.submit(server)) == (507, "disk_full")
            assert server.stop(signal.SIGTERM) == 0
        with house.serving("--keep-tasks", "1") as server:
            assert len(server.get("/tasks?query=history")["history"]) == 1
            del house.accepted[:2]
            house.submit(server)
            house.drained(server)
            assert server.stop(signal.SIGTERM) == 0
        lost = house.losses()
    account("a start on a full disk; then one whose keep options make room", 2, lost)


def test_a_first_start_on_a_full_disk(house: House) -> None:
    """Without a history there is nothing to show: it ends, and says why in a line."""
    with small_disk(house.outputs, 4 * MIB) as disk:
        fill(disk)
        with (
            pytest.raises(RuntimeError, match=r"focal: .* cannot be used: .* is full"),
            house.starting(),
        ):
            pass
        log = (house.folder / "server.log").read_text()
    assert "Traceback" not in log


def test_a_locked_database(house: House, account: Account) -> None:
    with house.serving() as server:
        for _ in range(TIMES):
            task_id = house.submit(server, "steps 50")
            with closing(sqlite3.connect(house.outputs / "db.sqlite3", timeout=30)) as other:
                other.execute("BEGIN IMMEDIATE")
                assert ended(server, task_id)["task_status"] == "finished"
                assert refusal(lambda: house.submit(server)) == (503, "database_locked")
                other.execute("ROLLBACK")
            house.submit(server)
        house.drained(server)
        assert server.stop(signal.SIGTERM) == 0
    account("another process locks the database while a task ends", TIMES, house.losses())


@pytest.mark.parametrize("replaced", [False, True])
def test_an_outputs_folder_that_vanishes(house: House, account: Account, replaced: bool) -> None:
    aside = house.folder / "aside"
    with house.serving() as server:
        house.submit(server)
        house.drained(server)
        running = house.submit(server, "steps 100")
        house.outputs.rename(aside)
        if replaced:
            shutil.copytree(aside, house.outputs)
        assert refusal(lambda: house.submit(server)) == (503, "outputs_missing")
        until(lambda: status_of(server) == "degraded")
        assert ended(server, running)["code"] == "outputs_missing"
        if replaced:
            shutil.rmtree(house.outputs)
        aside.rename(house.outputs)
        until(lambda: status_of(server) == "ready")
        house.submit(server)
        house.drained(server)
        assert server.stop(signal.SIGTERM) == 0
    lost = [line for line in house.losses() if "failed with outputs_missing" not in line]
    how = "replaced by a copy" if replaced else "moved away"
    account(f"the outputs folder is {how} and comes back", 1, lost)


def test_a_picture_that_cannot_be_deleted(house: House, account: Account) -> None:
    with house.serving() as server:
        for _ in range(3):
            house.submit(server)
        house.drained(server)
        stuck = next(house.outputs.glob("*/*.png"))
        if subprocess.run(["chattr", "+i", stuck], check=False, capture_output=True).returncode:
            pytest.skip("the file system or the user cannot make a file immutable")
        try:
            reply = server.get("/tasks?query=history&start_at=2000-01-01&action=delete")
            assert (len(reply["history"]), len(reply["left"])) == (2, 1)
        finally:
            subprocess.run(["chattr", "-i", stuck], check=True)
        house.accepted = [reply["left"][0]["task_id"]]
        assert server.stop(signal.SIGTERM) == 0
    account("a picture cannot be deleted", 1, house.losses())
