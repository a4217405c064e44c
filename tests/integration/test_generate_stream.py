"""The streamed answer of the generate endpoint."""

import asyncio
import base64
import json
import threading
from io import BytesIO

import pytest
from PIL import Image

from pipeline.errors import DeviceOutOfMemory
from tests.integration.generate_streams import all_events, next_event, opened
from tests.integration.serving import WAIT_S, Focal


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


async def test_results_can_be_data_urls_in_the_reply_and_in_the_stream(focal: Focal) -> None:
    record = await focal.generate({"require_base64": True, "output_format": "webp"})
    async with opened(focal, {"require_base64": True, "output_format": "webp"}) as answer:
        last = (await all_events(answer))[-1]
    for url in (*record["result"], *last["images"]):
        head, _, data = url.partition(",")
        assert head == "data:image/webp;base64"
        assert Image.open(BytesIO(base64.b64decode(data))).format == "WEBP"
