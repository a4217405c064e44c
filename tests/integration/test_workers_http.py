"""Workers as operators see them over HTTP, and their draining."""

from pathlib import Path
from typing import Any

from tests.integration.fake_device import FakeDevice
from tests.integration.serving import Focal, serve


async def change(focal: Focal, worker: str, action: str, status: int = 200) -> Any:
    async with focal.session.post(f"/v1/workers/{worker}/{action}") as answer:
        assert answer.status == status, await answer.text()
        return await answer.json()


async def test_a_worker_is_described_with_what_it_has_made(tmp_path: Path) -> None:
    async with serve(tmp_path, FakeDevice()) as focal:
        await focal.generate({"prompt": "a cat", "image_number": 2})
        (worker,) = (await focal.get("/v1/workers"))["workers"]
        async with focal.session.get("/metrics") as answer:
            metrics = await answer.text()
    assert worker == {
        "id": "fake",
        "state": "ready",
        "error": "",
        "draining": False,
        "node": "",
        "memory_bytes": 0,
        "tasks": [],
        "models": [],
        "pictures": 2,
        "failures": 0,
    }
    assert 'focal_worker_ready{node="",worker="fake"} 1.0' in metrics
    assert 'focal_worker_pictures_total{node="",worker="fake"} 2.0' in metrics


async def test_a_drained_worker_makes_nothing_until_it_is_resumed(tmp_path: Path) -> None:
    async with serve(tmp_path, FakeDevice()) as focal:
        (worker,) = (await change(focal, "fake", "drain"))["workers"]
        assert worker["draining"] is True
        assert (await change(focal, "fake", "drain"))["workers"][0]["draining"] is True
        task_id = await focal.queue(prompt="a cat")
        queue = await focal.get("/v1/queue")
        assert [task["task_id"] for task in queue["pending"]] == [task_id]
        assert (await change(focal, "fake", "resume"))["workers"][0]["draining"] is False
        assert (await focal.ended(task_id))["task_status"] == "finished"


async def test_an_unknown_worker_is_not_found(tmp_path: Path) -> None:
    async with serve(tmp_path, FakeDevice()) as focal:
        assert (await change(focal, "nobody", "drain", 404))["code"] == "not_found"
        assert (await change(focal, "nobody", "resume", 404))["code"] == "not_found"
