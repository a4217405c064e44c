"""Health and metrics over HTTP."""

import asyncio
from pathlib import Path

from handlers.keys import STATE
from tests.integration.serving import WAIT_S, Focal, serve


async def ready(focal: Focal) -> None:
    async with asyncio.timeout(WAIT_S):
        task_id = await focal.queue(prompt="x")
        await focal.ended(task_id)


async def metric(focal: Focal, line: str) -> float:
    async with focal.session.get("/metrics") as answer:
        assert answer.status == 200
        text = await answer.text()
    values = [row.rpartition(" ")[2] for row in text.splitlines() if row.startswith(line + " ")]
    assert len(values) == 1, f"{line} in\n{text}"
    return float(values[0])


async def test_health_says_whether_pictures_can_be_made(focal: Focal) -> None:
    await ready(focal)
    report = await focal.get("/health")
    assert (report["status"], report["ready"]) == ("ready", True)
    assert (report["pending"], report["running"]) == (0, 0)
    assert [device["state"] for device in report["devices"]] == ["ready"]
    assert report["uptime_seconds"] > 0
    assert report["version"]
    await focal.get("/health", ready="1")


async def test_a_stopping_server_is_alive_and_not_ready(focal: Focal) -> None:
    focal.app[STATE].stopping = True
    report = await focal.get("/health")
    assert (report["status"], report["ready"]) == ("stopping", False)
    await focal.get("/health", status=503, ready="1")


async def test_health_counts_what_waits_and_runs(focal: Focal) -> None:
    focal.device.gate.clear()
    await focal.queue(prompt="a")
    await focal.started()
    await focal.queue(prompt="b")
    report = await focal.get("/health")
    assert (report["pending"], report["running"]) == (1, 1)
    assert await metric(focal, "focal_queue_tasks") == 1
    assert await metric(focal, "focal_running_tasks") == 1


async def test_metrics_count_tasks_and_requests(focal: Focal) -> None:
    await ready(focal)
    async with asyncio.timeout(WAIT_S):
        while await metric(focal, 'focal_tasks_total{status="finished"}') != 1:
            pass  # asking takes its time
    assert await metric(focal, 'focal_tasks_total{status="failed"}') == 0
    await focal.get("/nowhere", status=404)
    count = 'focal_request_seconds_count{method="GET",route="none",status="404"}'
    assert await metric(focal, count) == 1
    assert await metric(focal, "focal_bus_events") > 0
    assert await metric(focal, "process_resident_memory_bytes") > 0


async def test_the_lag_of_the_event_loop_is_sampled(focal: Focal) -> None:
    async with asyncio.timeout(WAIT_S):
        while await metric(focal, "focal_event_loop_lag_seconds_count") == 0:
            pass


async def test_two_applications_count_for_themselves(tmp_path: Path, focal: Focal) -> None:
    await focal.get("/nowhere", status=404)
    async with serve(tmp_path / "second") as second, second.session.get("/metrics") as answer:
        assert 'status="404"' not in await answer.text()
