"""POST /v1/engine/generate/: four ways of answering, over HTTP, with a fake device."""

import asyncio
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from handlers.keys import EXECUTOR, HISTORY, INPUTS
from handlers.service.admission import Admissions, Submission
from handlers.service_keys import WATCH
from pipeline.errors import DeviceOutOfMemory
from pipeline.request.resolved import resolve_params
from pipeline.request.schema import GenerateParams
from pipeline.scheduling.task import Task
from tests.integration.generate_streams import all_events, next_event, opened
from tests.integration.serving import GENERATE, WAIT_S, Focal, serve

RECORD_KEYS = {
    "id",
    "task_id",
    "req_params",
    "in_queue_mills",
    "start_mills",
    "finish_mills",
    "task_status",
    "progress",
    "webhook_url",
    "result",
}


async def test_by_default_the_reply_is_the_finished_record(focal: Focal) -> None:
    record = await focal.generate({"prompt": "a cat", "image_number": 2})
    assert set(record) >= RECORD_KEYS
    assert record["task_status"] == "finished"
    assert record["progress"] == 100
    assert record["id"] >= 1
    assert record["in_queue_mills"] <= record["start_mills"] <= record["finish_mills"]
    assert record["req_params"]["prompt"] == "a cat"
    assert len(record["result"]) == 2
    assert record == await focal.get(f"/tasks/{record['task_id']}")
    for url in record["result"]:
        assert url.startswith(f"{focal.url}/outputs/")
        async with focal.session.get(url) as answer:
            assert answer.content_type == "image/png"
            assert Image.open(BytesIO(await answer.read())).size == (8, 8)


async def test_both_spellings_of_the_path_and_no_content_type_do(focal: Focal) -> None:
    for path in ("/v1/engine/generate", "/v1/engine/generate/"):
        async with focal.session.post(
            path, data=b'{"prompt": "a cat"}', headers={"Content-Type": ""}
        ) as answer:
            assert answer.status == 200
            assert (await answer.json())["task_status"] == "finished"


async def test_a_failed_task_is_answered_500_with_its_record(focal: Focal) -> None:
    focal.device.failure = DeviceOutOfMemory("no room for 8x8; ask for less")
    record = await focal.generate({}, status=500)
    assert record["task_status"] == "failed"
    assert record["error"] == "no room for 8x8; ask for less"
    assert record["result"] == []
    focal.device.failure = None
    assert (await focal.generate({}))["task_status"] == "finished"


async def test_an_asynchronous_task_is_answered_before_it_runs(focal: Focal) -> None:
    focal.device.gate.clear()
    reply = await focal.generate({"async_process": True, "webhook_url": ""})
    task_id = reply.pop("task_id")
    assert len(task_id) == 32
    assert reply == {
        "id": -1,
        "req_params": {},
        "in_queue_mills": -1,
        "start_mills": -1,
        "finish_mills": -1,
        "task_status": "pending",
        "progress": -1,
        "preview": "",
        "webhook_url": "",
        "result": [],
    }
    focal.device.gate.set()
    assert (await focal.ended(task_id))["task_status"] == "finished"


@pytest.mark.parametrize(
    ("accept", "kind", "content_type"),
    [
        ("image/png", "PNG", "image/png"),
        ("image/*", "PNG", "image/png"),
        ("image/jpeg", "JPEG", "image/jpeg"),
        ("image/jpg", "JPEG", "image/jpeg"),
        ("image/webp", "WEBP", "image/webp"),
        ("text/html;q=0.2, image/png;q=0.5, image/webp", "WEBP", "image/webp"),
        ("image/gif, image/png;q=0.5", "PNG", "image/png"),
    ],
)
async def test_accept_names_the_picture_format_and_wins_over_the_other_ways(
    focal: Focal, accept: str, kind: str, content_type: str
) -> None:
    body = {"image_number": 3, "stream_output": True, "async_process": True}
    async with focal.session.post(GENERATE, json=body, headers={"Accept": accept}) as answer:
        assert answer.status == 200
        assert answer.content_type == content_type
        assert Image.open(BytesIO(await answer.read())).format == kind
        record = await focal.get(f"/tasks/{answer.headers['X-Task-Id']}")
    assert record["req_params"]["image_number"] == 1
    assert len(record["result"]) == 1


@pytest.mark.parametrize(
    "accept", ["*/*", "application/json", "text/html, image/png;q=0.9", "image/png;q=0"]
)
async def test_a_client_that_prefers_something_else_gets_the_record(
    focal: Focal, accept: str
) -> None:
    record = await focal.generate({}, Accept=accept)
    assert record["task_status"] == "finished"


async def test_a_picture_format_that_is_not_made_is_refused(focal: Focal) -> None:
    reply = await focal.generate({}, status=406, Accept="image/tiff")
    assert "image/tiff" in reply["detail"]
    await focal.nothing_is_left()


async def test_a_picture_that_failed_is_answered_with_the_record(focal: Focal) -> None:
    focal.device.failure = DeviceOutOfMemory("no room")
    record = await focal.generate({}, status=500, Accept="image/png")
    assert record["error"] == "no room"


async def test_a_random_seed_is_drawn_and_kept_where_javascript_can_read_it(focal: Focal) -> None:
    first = await focal.generate({"image_seed": -1})
    second = await focal.generate({})
    seeds = [record["req_params"]["image_seed"] for record in (first, second)]
    assert seeds[0] != seeds[1]
    assert all(0 <= seed < 2**53 for seed in seeds)
    given = await focal.generate({"image_seed": 2**63 - 1})
    assert given["req_params"]["image_seed"] == 2**63 - 1


async def test_every_way_of_answering_names_the_task_and_what_was_ignored(focal: Focal) -> None:
    body: dict[str, Any] = {"save_name": "mine", "Prompt": "a cat"}
    ways: list[tuple[dict[str, Any], str]] = [
        ({}, "*/*"),
        ({"stream_output": True}, "*/*"),
        ({"async_process": True}, "*/*"),
        ({}, "image/png"),
    ]
    for way, accept in ways:
        headers = {"Accept": accept}
        async with focal.session.post(GENERATE, json={**body, **way}, headers=headers) as answer:
            assert answer.status == 200
            await answer.read()
            assert answer.headers["X-Ignored-Params"] == "save_name, Prompt"
            record = await focal.ended(answer.headers["X-Task-Id"])
        assert record["task_status"] == "finished"


async def test_a_client_that_goes_away_does_not_stop_its_task(focal: Focal) -> None:
    for body in ({"stream_output": True}, {}):
        focal.device.gate.clear()
        request = asyncio.create_task(focal.session.post(GENERATE, json=body).__aenter__())
        await focal.started()
        if not request.done():
            request.cancel()
        await asyncio.wait([request], timeout=WAIT_S)
        if not request.cancelled():
            request.result().close()
        (task,) = (await focal.get("/tasks"))["current"]
        focal.device.gate.set()
        assert (await focal.ended(task["task_id"]))["task_status"] == "finished"


async def test_a_preset_fills_in_only_what_the_request_leaves_out(focal: Focal) -> None:
    record = await focal.generate({"preset": "embedded", "guidance_scale": 9})
    assert record["req_params"]["guidance_scale"] == 9
    assert record["req_params"]["base_model_name"] == "embedded"


async def test_urls_begin_with_the_configured_base_url(tmp_path: Path) -> None:
    async with serve(tmp_path, base_url="https://pictures.example/focal/") as focal:
        record = await focal.generate({})
    assert record["result"][0].startswith("https://pictures.example/focal/outputs/")


async def test_an_admission_cancelled_at_any_point_never_loses_its_task(tmp_path: Path) -> None:
    async with serve(tmp_path) as focal:
        app = focal.app
        admissions = Admissions(app[HISTORY], app[EXECUTOR], app[INPUTS], app[WATCH])
        for ticks in range(12):
            task = Task(
                task_id=f"{ticks:032x}", request=resolve_params(GenerateParams()), in_queue_mills=1
            )
            admission = asyncio.create_task(admissions.admit(Submission(task=task)))
            for _ in range(ticks):
                await asyncio.sleep(0)
            admission.cancel()
            await asyncio.wait([admission], timeout=WAIT_S)
        await focal.generate({})  # a round trip through history and queue: all others are over
        assert not admissions._open
        ended = (await focal.get("/tasks", page_size="100"))["history"]
        assert len(ended) >= 10
        assert all(task["task_status"] == "finished" for task in ended)
    async with serve(tmp_path) as focal:
        await focal.generate({})
        assert len(focal.device.seen) == 1  # no open row was waiting for a restart


async def test_who_waits_while_the_server_stops_is_told_that_the_task_stays(focal: Focal) -> None:
    focal.device.gate.clear()
    await focal.queue()
    await focal.started()
    async with opened(focal, {}) as answer:
        assert (await next_event(answer))["message"].startswith("Waiting")
        waiting = asyncio.create_task(focal.generate({}, status=503))
        while len((await focal.get("/tasks"))["pending"]) < 2:
            pass
        stopping = asyncio.create_task(focal.app.shutdown())
        focal.device.gate.set()
        await asyncio.wait_for(stopping, WAIT_S)
        last = (await all_events(answer))[-1]
    assert last["message"] != "Finished"
    assert "the server stops" in last["error"]
    assert (await waiting)["code"] == "server_stopping"
    assert (await focal.generate({}, status=503))["code"] == "server_stopping"


async def test_a_task_whose_row_cannot_be_closed_is_answered_all_the_same(focal: Focal) -> None:
    focal.device.gate.clear()
    waiting = asyncio.create_task(focal.generate({}))
    await focal.started()
    connection = focal.app[HISTORY]._database._writing
    await connection.execute("PRAGMA query_only = 1")  # as on a full disk, nothing can be written
    focal.device.gate.set()
    record = await waiting
    assert record["task_status"] == "finished"
    assert len(record["result"]) == 1
    await connection.execute("PRAGMA query_only = 0")
    assert (await focal.generate({}))["task_status"] == "finished"


@pytest.mark.parametrize("path", [GENERATE, "/v1/engine/image"])
async def test_a_query_asks_for_the_picture_where_a_client_cannot_set_accept(
    focal: Focal, path: str
) -> None:
    query, headers = {"as": "webp"}, {"Accept": "application/json"}
    params = {"image_number": 3, "image_seed": 4}
    async with focal.session.post(path, json=params, params=query, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "image/webp"
        assert Image.open(BytesIO(await answer.read())).format == "WEBP"
    async with focal.session.post(path, json={}, params={"as": "tiff"}) as answer:
        assert answer.status == 422


async def test_the_picture_endpoint_answers_with_a_png_unasked(focal: Focal) -> None:
    async with focal.session.post("/v1/engine/image", json={"async_process": True}) as answer:
        assert answer.content_type == "image/png"
