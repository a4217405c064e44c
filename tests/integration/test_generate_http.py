"""POST /v1/engine/generate/: four ways of answering, over HTTP, with a fake device."""

import asyncio
import base64
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from PIL import Image

from handlers.keys import EXECUTOR, HISTORY, INPUTS
from handlers.service.admission import Admissions, Submission
from handlers.service_keys import WATCH
from pipeline.errors import DeviceOutOfMemory
from pipeline.request.resolved import resolve_params
from pipeline.request.schema import GenerateParams
from pipeline.scheduling.task import Task
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


@asynccontextmanager
async def opened(
    focal: Focal, params: dict[str, Any], **headers: str
) -> AsyncIterator[aiohttp.ClientResponse]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = {"stream_output": True, **params}
    async with focal.session.post(GENERATE, json=body, headers=named) as answer:
        assert answer.status == 200, await answer.text()
        yield answer


async def next_event(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    """The next event, read as the documented client does."""
    while True:
        line = (await asyncio.wait_for(answer.content.readline(), WAIT_S)).decode()
        assert line, "the stream ended"
        try:
            event: dict[str, Any] = json.loads(line[6:])
        except json.JSONDecodeError:
            continue
        return event


async def all_events(answer: aiohttp.ClientResponse) -> list[dict[str, Any]]:
    """The events from here on; each must be one line of data and an empty line."""
    text = (await asyncio.wait_for(answer.read(), WAIT_S)).decode()
    events = text.removeprefix("\n").split("\n\n")  # next_event leaves its empty line
    assert events.pop() == ""
    told = [event for event in events if not event.startswith(":")]
    assert all(event.startswith("data: ") and "\n" not in event for event in told)
    return [json.loads(event[6:]) for event in told]


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


async def test_a_stream_tells_every_step_and_ends_with_finished(focal: Focal) -> None:
    wanted = [
        (2, "Loading models ..."),
        (13, "Preparing task 1/2 ..."),
        (13, "Sampling step 1/4, image 1/2 ..."),
        (23, "Sampling step 2/4, image 1/2 ..."),
        (34, "Sampling step 3/4, image 1/2 ..."),
        (45, "Sampling step 4/4, image 1/2 ..."),
        (56, "Saving image 1/2 to system ..."),
        (56, "Preparing task 2/2 ..."),
        (56, "Sampling step 1/4, image 2/2 ..."),
        (67, "Sampling step 2/4, image 2/2 ..."),
        (78, "Sampling step 3/4, image 2/2 ..."),
        (89, "Sampling step 4/4, image 2/2 ..."),
        (100, "Saving image 2/2 to system ..."),
    ]
    focal.device.turns = threading.Semaphore(0)
    async with opened(focal, {"image_number": 2}) as answer:
        assert answer.content_type == "text/event-stream"
        events = []
        for _ in wanted:
            focal.device.turns.release()
            events.append(await next_event(answer))
        (last,) = await all_events(answer)
    assert [(event["progress"], event["message"]) for event in events] == wanted
    for event in events:
        assert list(event) == ["progress", "preview", "message", "images"]
        assert event["images"] == []
    assert events[2]["preview"].startswith("data:image/png;base64,")
    assert [event["preview"] for event in events[:2]] == [None, None]
    images = last.pop("images")
    assert last == {"progress": 100, "preview": None, "message": "Finished"}
    assert len(images) == 2
    assert all(url.startswith(f"{focal.url}/outputs/") for url in images)


async def test_a_reader_that_falls_behind_misses_steps_but_never_the_end(focal: Focal) -> None:
    async with opened(focal, {"image_number": 32}) as answer:
        events = await all_events(answer)
    progress = [event["progress"] for event in events]
    assert progress == sorted(progress)
    assert [event["message"] for event in events].count("Finished") == 1
    assert len(events[-1]["images"]) == 32


async def test_a_stream_tells_how_many_tasks_are_ahead(focal: Focal) -> None:
    focal.device.gate.clear()
    await focal.queue()
    await focal.started()
    second = await focal.queue()
    async with opened(focal, {}) as answer:
        assert await next_event(answer) == {
            "progress": 0,
            "preview": None,
            "message": "Waiting for task to start, 2 ahead ...",
            "images": [],
        }
        await focal.control(action="stop", task_id=second)
        assert (await next_event(answer))["message"] == "Waiting for task to start, 1 ahead ..."
        focal.device.gate.set()
        assert (await all_events(answer))[-1]["message"] == "Finished"


async def test_a_failed_task_ends_its_stream_with_the_error(focal: Focal) -> None:
    focal.device.failure = DeviceOutOfMemory("no room")
    async with opened(focal, {}) as answer:
        events = await all_events(answer)
    assert events[-1]["error"] == "no room"
    assert events[-1]["progress"] < 100
    assert not any(event["message"] == "Finished" for event in events)
    assert not any("error" in event for event in events[:-1])


async def test_a_stopped_task_ends_its_stream_with_an_error(focal: Focal) -> None:
    focal.device.gate.clear()
    async with opened(focal, {}) as answer:
        await focal.started()
        await focal.control(action="stop")
        events = await all_events(answer)
    assert events[-1]["message"] == "Stopped"
    assert events[-1]["error"]
    assert events[-1]["images"] == []


async def test_an_idle_stream_sends_comments_that_clients_skip(
    focal: Focal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handlers.http.sse.KEEP_ALIVE_S", 0.02)
    focal.device.gate.clear()
    async with opened(focal, {}) as answer:
        comments = 0
        while comments < 2:
            line = (await asyncio.wait_for(answer.content.readline(), WAIT_S)).decode()
            assert line
            if line.startswith(":"):
                comments += 1
                with pytest.raises(json.JSONDecodeError):
                    json.loads(line.split("\n")[0][6:])
        focal.device.gate.set()
        assert (await all_events(answer))[-1]["message"] == "Finished"


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


async def test_results_can_be_data_urls_in_the_reply_and_in_the_stream(focal: Focal) -> None:
    record = await focal.generate({"require_base64": True, "output_format": "webp"})
    async with opened(focal, {"require_base64": True, "output_format": "webp"}) as answer:
        last = (await all_events(answer))[-1]
    for url in (*record["result"], *last["images"]):
        head, _, data = url.partition(",")
        assert head == "data:image/webp;base64"
        assert Image.open(BytesIO(base64.b64decode(data))).format == "WEBP"


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


async def test_a_repeated_idempotency_key_joins_the_first_task_in_every_way(focal: Focal) -> None:
    focal.device.gate.clear()
    key: dict[str, Any] = {"Idempotency_Key": "order 1"}
    first = (await focal.generate({"async_process": True}, **key))["task_id"]
    await focal.started()
    again = await focal.generate({"async_process": True}, **key)
    assert again["task_id"] == first
    waiting = asyncio.create_task(focal.generate({}, **key))
    picture = asyncio.create_task(
        focal.session.post(
            GENERATE, json={}, headers={"Idempotency-Key": "order 1", "Accept": "image/webp"}
        ).__aenter__()
    )
    async with opened(focal, {}, **key) as answer:
        assert answer.headers["X-Task-Id"] == first
        await next_event(answer)
        focal.device.gate.set()
        assert (await all_events(answer))[-1]["message"] == "Finished"
    assert (await waiting)["task_id"] == first
    async with await picture as answer:
        assert Image.open(BytesIO(await answer.read())).format == "WEBP"
    async with opened(focal, {}, **key) as answer:  # also when it has ended
        assert [event["message"] for event in await all_events(answer)] == ["Finished"]
    assert (await focal.generate({}, **key))["task_id"] == first
    assert len(focal.device.seen) == 1
    assert len((await focal.get("/tasks"))["history"]) == 1


async def test_repeats_at_the_same_moment_make_one_task(focal: Focal) -> None:
    replies = await asyncio.gather(
        *(focal.generate({}, Idempotency_Key="order 2") for _ in range(5))
    )
    assert len({reply["task_id"] for reply in replies}) == 1
    assert len(focal.device.seen) == 1


async def test_an_idempotency_key_still_counts_after_a_restart(tmp_path: Path) -> None:
    async with serve(tmp_path) as focal:
        first = await focal.generate({}, Idempotency_Key="order 3")
    async with serve(tmp_path) as focal:
        again = await focal.generate({}, Idempotency_Key="order 3")
        assert focal.device.seen == []
    assert again["task_id"] == first["task_id"]


async def test_a_refused_request_does_not_use_up_its_idempotency_key(tmp_path: Path) -> None:
    async with serve(tmp_path, queue_size=1) as focal:
        focal.device.gate.clear()
        await focal.queue()
        await focal.started()
        await focal.queue()
        await focal.generate({}, status=429, Idempotency_Key="order 4")
        focal.device.gate.set()
        for task in (await focal.get("/tasks"))["pending"]:
            await focal.ended(task["task_id"])
        reply = await focal.generate({}, Idempotency_Key="order 4")
        assert reply["task_status"] == "finished"


async def test_an_endless_idempotency_key_is_refused(focal: Focal) -> None:
    reply = await focal.generate({}, status=400, Idempotency_Key="x" * 256)
    assert "255" in reply["detail"]
    await focal.nothing_is_left()


@pytest.mark.parametrize("key", ["order \udcff", "order\t5"])
async def test_an_idempotency_key_that_is_no_text_is_refused(focal: Focal, key: str) -> None:
    url = urlsplit(focal.url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    head = f"POST {GENERATE} HTTP/1.1\r\nHost: {url.netloc}\r\nIdempotency-Key: {key}\r\n"
    writer.write(head.encode(errors="surrogateescape") + b"Content-Length: 2\r\n\r\n{}")
    status = await asyncio.wait_for(reader.readline(), WAIT_S)
    writer.close()
    assert status.split()[1] == b"400"
    await focal.nothing_is_left()


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
