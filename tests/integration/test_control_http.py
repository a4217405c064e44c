"""POST /v1/engine/control: stop and skip, over HTTP."""

import asyncio
from pathlib import Path
from typing import Any

from tests.integration.serving import WAIT_S, Focal, serve


async def test_stop_ends_the_running_task_and_the_next_one_runs(focal: Focal) -> None:
    focal.device.gate.clear()
    first = await focal.queue()
    await focal.started()
    second = await focal.queue()
    assert await focal.control(action="stop") == {"message": "Stopped"}
    record = await focal.ended(first)
    assert record["task_status"] == "stop"
    assert record["result"] == []
    focal.device.gate.set()
    assert (await focal.ended(second))["task_status"] == "finished"


async def test_stop_by_id_ends_a_waiting_task_before_it_runs(focal: Focal) -> None:
    focal.device.gate.clear()
    first = await focal.queue()
    await focal.started()
    second = await focal.queue()
    assert await focal.control(action="stop", task_id=second) == {"message": "Stopped"}
    assert (await focal.get(f"/tasks/{second}"))["task_status"] == "stop"
    assert (await focal.get("/tasks"))["pending"] == []
    focal.device.gate.set()
    assert (await focal.ended(first))["task_status"] == "finished"
    assert [task.task_id for task in focal.device.seen] == [first]


async def test_a_stopped_synchronous_task_is_answered_200_with_its_status(focal: Focal) -> None:
    focal.device.gate.clear()
    reply = asyncio.create_task(focal.generate({}))
    await focal.started()
    await focal.control(action="stop")
    assert (await reply)["task_status"] == "stop"


async def test_a_stopped_picture_request_is_answered_409_with_the_record(focal: Focal) -> None:
    focal.device.gate.clear()
    reply = asyncio.create_task(focal.generate({}, status=409, Accept="image/png"))
    await focal.started()
    await focal.control(action="stop")
    assert (await reply)["task_status"] == "stop"


async def test_skip_ends_one_picture_and_goes_on_with_the_next(focal: Focal) -> None:
    focal.device.gate.clear()
    task_id = await focal.queue(image_number=3)
    await focal.started()
    assert await focal.control(action="skip") == {"message": "Skipped"}
    assert await asyncio.to_thread(focal.device.skipped.wait, WAIT_S)
    focal.device.gate.set()
    record = await focal.ended(task_id)
    assert record["task_status"] == "finished"
    assert len(record["result"]) == 2


async def test_a_task_all_of_whose_pictures_are_skipped_ends_as_skipped(focal: Focal) -> None:
    focal.device.gate.clear()
    reply = asyncio.create_task(focal.generate({}))
    await focal.started()
    await focal.control(action="skip")
    record = await reply
    assert record["task_status"] == "skip"
    assert record["result"] == []


async def test_asking_again_changes_nothing(focal: Focal) -> None:
    assert await focal.control(action="stop") == {"message": "No task is running"}
    assert await focal.control(action="skip") == {"message": "No task is running"}
    task_id = (await focal.generate({}))["task_id"]
    for action in ("stop", "stop", "skip"):
        reply = await focal.control(action=action, task_id=task_id)
        assert reply == {"message": "The task had ended"}
    assert (await focal.get(f"/tasks/{task_id}"))["task_status"] == "finished"


async def test_a_waiting_task_has_no_picture_to_skip(focal: Focal) -> None:
    focal.device.gate.clear()
    await focal.queue()
    await focal.started()
    waiting = await focal.queue()
    reply = await focal.control(action="skip", task_id=waiting)
    assert "waits" in reply["message"]
    assert len((await focal.get("/tasks"))["pending"]) == 1


async def test_an_unknown_action_and_an_unknown_task_are_refused(focal: Focal) -> None:
    wrong: list[dict[str, Any]] = [{}, {"action": "pause"}, {"action": ""}]
    for query in wrong:
        reply = await focal.control(status=422, **query)
        assert reply["detail"][0]["loc"] == ["query", "action"]
    for action in ("stop", "skip"):
        reply = await focal.control(status=404, action=action, task_id="../../etc/passwd")
        assert reply["code"] == "not_found"


async def test_control_by_get_is_refused(focal: Focal) -> None:
    await focal.get("/v1/engine/control", status=405, action="stop")


async def test_a_stop_leaves_no_pictures_of_the_next_start_behind(tmp_path: Path) -> None:
    """A task that was stopped while it waited does not come back after a restart."""
    async with serve(tmp_path) as focal:
        focal.device.gate.clear()
        await focal.queue()
        await focal.started()
        waiting = await focal.queue()
        await focal.control(action="stop", task_id=waiting)
        await focal.control(action="stop")
    async with serve(tmp_path) as focal:
        await focal.generate({})
        assert waiting not in [task.task_id for task in focal.device.seen]
