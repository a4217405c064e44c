"""Idempotency keys: a repeated request joins the task of the first."""

import asyncio
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

from tests.integration.generate_streams import all_events, next_event, opened
from tests.integration.serving import GENERATE, WAIT_S, Focal, serve


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
