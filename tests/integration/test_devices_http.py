"""Several devices of one server, as clients see them."""

from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.scheduling.engine_protocol import Generate
from pipeline.scheduling.local_worker import LocalWorker
from pipeline.scheduling.worker_events import Sink
from tests.integration.fake_device import FakeDevice
from tests.integration.serving import serve
from tests.integration.test_unload import LoadingDevice

WHY = "this machine has no 'cuda:0'; auto would choose 'cpu'"
TASKS = 20


def no_such_device(_sink: Sink) -> Generate:
    raise PipelineError(WHY)


async def test_one_good_device_makes_every_picture_and_the_broken_one_is_named(
    tmp_path: Path,
) -> None:
    broken = LocalWorker("cuda:0", no_such_device)
    async with serve(tmp_path, FakeDevice(), others=[broken]) as focal:
        ids = [await focal.queue(prompt=f"number {number}") for number in range(TASKS)]
        ends = [(await focal.ended(task_id))["task_status"] for task_id in ids]
        assert ends == ["finished"] * TASKS
        health, queue = await focal.get("/health"), await focal.get("/v1/queue")
        await focal.get("/health", ready="1")  # pictures are made
    assert (health["status"], health["ready"], health["detail"]) == ("degraded", True, WHY)
    devices = [
        {"name": "fake", "state": "ready", "error": ""},
        {"name": "cuda:0", "state": "failed", "error": WHY},
    ]
    assert health["devices"] == queue["devices"] == devices


async def test_without_a_device_tasks_wait_and_health_says_why(tmp_path: Path) -> None:
    class Broken(FakeDevice):
        def build(self, settings: object, sink: Sink) -> FakeDevice:
            raise PipelineError(WHY)

    async with serve(tmp_path, Broken()) as focal:
        task_id = await focal.queue(prompt="a cat")
        health = await focal.get("/health")
        while health["status"] == "starting":
            health = await focal.get("/health")
        assert (health["status"], health["ready"], health["detail"]) == ("degraded", False, WHY)
        await focal.get("/health", status=503, ready="1")
        assert [task["task_id"] for task in (await focal.get("/v1/queue"))["pending"]] == [task_id]


async def test_loaded_models_are_listed_with_their_device(tmp_path: Path) -> None:
    second = LoadingDevice()
    second.gate.clear()  # it never begins a task: the first device is free each time
    other = LocalWorker("other", lambda _sink: second)
    async with serve(tmp_path, LoadingDevice(), others=[other]) as focal:
        await focal.generate({"prompt": "a cat"})
        second.names.add("embedded")
        loaded = (await focal.get("/v1/models"))["loaded"]
        assert {(model["name"], model["device"]) for model in loaded} == {
            ("embedded", "fake"),
            ("embedded", "other"),
        }
        second.gate.set()
