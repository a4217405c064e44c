"""Exceptions on the device, too little memory, too few descriptors, receivers that die."""

import resource
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.conftest import Account
from tests.faults.house import House, Receiver, open_files, until
from tests.faults.painting_server import FAULTS
from tools.server_process import ServerProcess

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(600)]

DESCRIPTORS = 256
STRANGERS = 400


def test_device_exceptions(house: House, account: Account) -> None:
    with house.serving() as server:
        failing = [house.submit(server, f"raise {name}") for name in FAULTS]
        good = [house.submit(server) for _ in FAULTS]
        house.drained(server)
        records = [server.get(f"/tasks/{task_id}") for task_id in failing]
        assert [record["task_status"] for record in records] == ["failed"] * len(FAULTS)
        assert server.stop(signal.SIGTERM) == 0
    lost = [line for line in house.losses() if not any(task_id in line for task_id in failing)]
    assert len(good) == len(FAULTS)
    account("an exception on the device", len(FAULTS), lost)


def test_a_memory_limit(house: House, account: Account) -> None:
    """Pictures that do not fit fail; smaller ones go on."""
    with house.serving() as server:
        limit = _address_space(server) + 200 * 2**20
        resource.prlimit(server.process.pid, resource.RLIMIT_AS, (limit, limit))
        large = house.submit(server, "bytes 900000000")
        small = house.submit(server)
        house.drained(server)
        assert server.get(f"/tasks/{large}")["code"] == "out_of_memory"
        assert server.get(f"/tasks/{small}")["task_status"] == "finished"
        assert server.stop(signal.SIGTERM) == 0
    lost = [line for line in house.losses() if large not in line]
    account("a picture beyond the memory limit", 1, lost)


@contextmanager
def strangers(server: ServerProcess, count: int) -> Iterator[None]:
    """Connections that say nothing."""
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            try:
                sockets.append(socket.create_connection(("127.0.0.1", server.port), timeout=1))
            except OSError:
                break
        yield
    finally:
        for each in sockets:
            each.close()


def test_a_descriptor_limit(house: House, account: Account) -> None:
    limited = ["prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}"]
    with house.serving(prefix=limited) as server:
        house.submit(server, "steps 100", image_number=2)
        for _ in range(5):
            house.submit(server)
        with strangers(server, STRANGERS):
            until(lambda: open_files(server) > DESCRIPTORS // 4)
            until(lambda: len(list(house.outputs.glob("*/*.png"))) == 7)
        house.drained(server)
        assert server.stop(signal.SIGTERM) == 0
    account(f"{STRANGERS} silent connections at {DESCRIPTORS} descriptors", 1, house.losses())


def test_dying_webhooks(house: House, receiver: Receiver, account: Account) -> None:
    """Each is delivered in the end, over errors, cut connections and a restart."""
    answers = iter([500, 0, 503, 0] * 3)
    receiver.answer = lambda: next(answers, 200)
    with house.serving() as server:
        for _ in range(6):
            house.submit(server, webhook_url=receiver.url)
        house.drained(server)
        assert server.stop(signal.SIGTERM) == 0
    with house.serving() as server:
        house.delivered(receiver)
        assert server.stop(signal.SIGTERM) == 0
    account("a webhook's receiver answers with errors or dies", 12, house.losses())


def _address_space(server: ServerProcess) -> int:
    pages = Path(f"/proc/{server.process.pid}/statm").read_text("ascii").split()[0]
    return int(pages) * resource.getpagesize()
