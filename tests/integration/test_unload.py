"""Models leave memory between tasks: when somebody asks, and when nobody wants a picture."""

import asyncio
import threading
from pathlib import Path
from typing import Any

from handlers.keys import EXECUTOR
from pipeline.scheduling.engine_protocol import Inputs, LoadedModel
from pipeline.scheduling.task import Reporter, Task
from tests.integration.fake_device import FakeDevice
from tests.integration.serving import WAIT_S, Focal, serve

AN_INSTANT = 0.001  # minutes


class LoadingDevice(FakeDevice):
    """Keeps the models of its tasks until it is told to let go, which sets ``released``.

    ``calls`` is what happened.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.calls: list[str] = []
        self.released = threading.Event()

    def __call__(self, task: Task, reporter: Reporter, inputs: Inputs) -> None:
        self.names.add(task.params.base_model_name)
        self.calls.append("begin")
        super().__call__(task, reporter, inputs)
        self.calls.append("end")

    def loaded(self) -> tuple[LoadedModel, ...]:
        """The models of earlier tasks."""
        return tuple(
            LoadedModel(kind="checkpoint", name=name, seconds=0.0, since_mills=0)
            for name in sorted(self.names)
        )

    def release(self) -> tuple[str, ...]:
        """Forget the models."""
        self.calls.append("release")
        names = tuple(sorted(self.names))
        if names:
            self.released.set()
        self.names.clear()
        return names


async def unload(focal: Focal, status: int = 200) -> Any:
    async with focal.session.post("/v1/engine/unload") as answer:
        assert answer.status == status, await answer.text()
        return await answer.json()


async def test_unloading_names_what_was_loaded_and_asking_again_changes_nothing(
    tmp_path: Path,
) -> None:
    async with serve(tmp_path, LoadingDevice()) as focal:
        assert await unload(focal) == {"message": "No model was loaded", "models": []}
        await focal.generate({"prompt": "a cat"})
        answer = await unload(focal)
        assert answer == {"message": "Unloaded embedded", "models": ["embedded"]}
        assert await unload(focal) == {"message": "No model was loaded", "models": []}


async def test_the_next_task_works_as_before(tmp_path: Path) -> None:
    async with serve(tmp_path, LoadingDevice()) as focal:
        for _ in range(2):
            record = await focal.generate({"prompt": "a cat"})
            assert record["task_status"] == "finished"
            assert (await unload(focal))["models"] == ["embedded"]


async def test_a_running_task_keeps_its_models_until_it_has_ended(tmp_path: Path) -> None:
    device = LoadingDevice()
    device.gate.clear()
    async with serve(tmp_path, device) as focal:
        first, second = await focal.queue(prompt="a"), await focal.queue(prompt="b")
        await focal.started()
        asked = asyncio.create_task(focal.app[EXECUTOR].unload())
        await asyncio.sleep(0)  # it is in the device's line now
        assert device.calls == ["begin"]
        device.gate.set()
        assert await asyncio.wait_for(asked, WAIT_S) == ("embedded",)
        for task_id in (first, second):
            assert (await focal.ended(task_id))["task_status"] == "finished"
        assert device.calls == ["begin", "end", "release", "begin", "end"]


async def test_a_client_that_leaves_does_not_call_the_unloading_off(tmp_path: Path) -> None:
    device = LoadingDevice()
    device.gate.clear()
    async with serve(tmp_path, device) as focal:
        task_id = await focal.queue(prompt="a")
        await focal.started()
        asked = asyncio.create_task(focal.app[EXECUTOR].unload())
        await asyncio.sleep(0)
        asked.cancel()
        await asyncio.wait([asked])
        device.gate.set()
        assert await asyncio.to_thread(device.released.wait, WAIT_S)
        await focal.ended(task_id)


async def test_a_device_that_keeps_nothing_has_nothing_to_unload(focal: Focal) -> None:
    await focal.generate({"prompt": "a cat"})
    assert (await unload(focal))["models"] == []


async def test_a_server_that_stops_refuses(tmp_path: Path) -> None:
    async with serve(tmp_path, LoadingDevice()) as focal:
        await focal.app[EXECUTOR].close(grace_s=0.0)
        assert (await unload(focal, status=503))["code"] == "server_stopping"


async def test_models_leave_after_a_time_without_tasks_and_after_the_next_one_again(
    tmp_path: Path,
) -> None:
    device = LoadingDevice()
    async with serve(tmp_path, device, idle_unload_minutes=AN_INSTANT) as focal:
        for _ in range(2):
            await focal.generate({"prompt": "a cat"})
            assert await asyncio.to_thread(device.released.wait, WAIT_S)
            device.released.clear()


async def test_a_task_that_takes_long_is_no_idle_time(tmp_path: Path) -> None:
    device = LoadingDevice()
    device.gate.clear()
    async with serve(tmp_path, device, idle_unload_minutes=AN_INSTANT) as focal:
        first, second = await focal.queue(prompt="a"), await focal.queue(prompt="b")
        await focal.started()
        assert not await asyncio.to_thread(device.released.wait, 4 * AN_INSTANT * 60)
        device.gate.set()
        for task_id in (first, second):
            await focal.ended(task_id)
        begun = device.calls.index("begin")
        assert device.calls[begun : begun + 4] == ["begin", "end", "begin", "end"]


async def test_without_the_option_models_stay(tmp_path: Path) -> None:
    device = LoadingDevice()
    async with serve(tmp_path, device) as focal:
        await focal.generate({"prompt": "a cat"})
    assert device.calls == ["begin", "end"]
