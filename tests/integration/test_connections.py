"""Connections beyond the limits: idle ones are closed, busy ones never, and tasks go on."""

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from handlers.http.connections import ConnectionLimits
from tests.integration.serving import WAIT_S, Focal, serve
from tools.server_process import running_server

FEW_FILES = Path(__file__).with_name("few_files_server.py")


async def connect(focal: Focal) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = focal.url.removeprefix("http://").partition(":")
    return await asyncio.open_connection(host, int(port))


async def is_closed(reader: asyncio.StreamReader) -> bool:
    """Whether the server has closed it; one that is open answers nothing."""
    try:
        async with asyncio.timeout(0.5):
            return await reader.read(1) == b""
    except TimeoutError:
        return False


def limits(**values: float) -> ConnectionLimits:
    return ConnectionLimits(**{"grace_s": 0.0, **values})  # type: ignore[arg-type]


@pytest.mark.parametrize("limit", [{"total": 4}, {"idle": 4}, {"idle_per_address": 4}])
async def test_the_longest_idle_connection_is_closed_for_a_new_one(
    tmp_path: Path, limit: dict[str, float]
) -> None:
    async with serve(tmp_path, limits=limits(**limit)) as focal:
        held = [await connect(focal) for _ in range(6)]
        closed = [await is_closed(reader) for reader, _ in held]
        assert closed == [True, True, False, False, False, False]
        held[-1][1].write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(WAIT_S):
            assert b"200" in await held[-1][0].readline()
        for _, writer in held:
            writer.close()


async def test_connections_within_their_grace_period_are_not_counted_as_idle(
    tmp_path: Path,
) -> None:
    async with serve(tmp_path, limits=limits(idle_per_address=2, idle=2, grace_s=60.0)) as focal:
        held = [await connect(focal) for _ in range(6)]
        assert not any([await is_closed(reader) for reader, _ in held])
        for _, writer in held:
            writer.close()


async def test_a_busy_connection_is_not_closed_and_a_new_one_is_refused(tmp_path: Path) -> None:
    async with (
        serve(tmp_path, limits=limits(total=3)) as focal,
        focal.session.get("/v1/events") as one,
        focal.session.get("/v1/events") as two,
    ):
        focal.device.gate.clear()
        waiting = asyncio.create_task(focal.generate({"prompt": "x"}))
        await focal.started()
        reader, writer = await connect(focal)
        async with asyncio.timeout(WAIT_S):
            head, body = (await reader.read()).split(b"\r\n\r\n")
        writer.close()
        assert head.startswith(b"HTTP/1.1 503 ")
        assert json.loads(body)["code"] == "too_many_connections"
        focal.device.gate.set()
        assert (await waiting)["task_status"] == "finished"
        assert (one.status, two.status) == (200, 200)
        assert await one.content.readany()


def test_the_limits_leave_descriptors_to_the_tasks() -> None:
    assert ConnectionLimits.of_descriptors(256).total == 64
    assert ConnectionLimits.of_descriptors(1024).total == 832
    assert ConnectionLimits.of_descriptors(2**20).total == 4096
    assert ConnectionLimits.of_descriptors(1).total == 16


@contextmanager
def silent(port: int, count: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=WAIT_S))
            for _ in range(count)
        ]


@pytest.mark.process
def test_no_task_fails_while_strangers_hold_more_sockets_than_there_are_files(
    tmp_path: Path,
) -> None:
    """400 silent connections to a server that may open 256 files failed every running task."""
    with running_server(["--preset", "embedded"], tmp_path, program=FEW_FILES) as server:
        for _ in range(3):
            body = {"prompt": "x", "image_number": 4, "async_process": True}
            task_ids = [server.post("/v1/engine/generate/", body)["task_id"] for _ in range(3)]
            with silent(server.port, 400):
                record = server.post("/v1/engine/generate/", {"prompt": "y"})
                assert record["task_status"] == "finished"
                for task_id in task_ids:
                    record = server.get(f"/tasks/{task_id}")
                    assert (record["task_status"], len(record["result"])) == ("finished", 4)
        assert "Traceback" not in server.log.read_text()
