"""Fooocus-API v1 and v2: its requests give our pictures, its replies hold what its clients read."""

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from handlers.fooocus_api import jobs
from tests.integration.fake_device import encode
from tests.integration.fooocus_api_client import TEXT, V1, asked, post
from tests.integration.serving import Focal, serve


@pytest_asyncio.fixture
async def focal(tmp_path: Path) -> AsyncIterator[Focal]:
    async with serve(tmp_path) as running:
        yield running


async def fetched(focal: Focal, url: str) -> bytes:
    async with focal.session.get(url) as answer:
        assert answer.status == 200
        return await answer.read()


async def test_a_synchronous_answer_is_a_list_of_our_pictures(focal: Focal) -> None:
    body = {"prompt": "a cat", "image_seed": 7, "image_number": 2, "require_base64": True}
    images = await post(focal, TEXT, body)
    record = await focal.generate({"prompt": "a cat", "image_seed": 7, "image_number": 2})
    assert [image["seed"] for image in images] == ["7", "8"]
    assert {image["finish_reason"] for image in images} == {"SUCCESS"}
    for image, url in zip(images, record["result"], strict=True):
        picture = await fetched(focal, url)
        assert await fetched(focal, image["url"]) == picture
        assert base64.b64decode(image["base64"].removeprefix("data:image/png;base64,")) == picture
    assert (await post(focal, TEXT, {"prompt": "a cat"}))[0]["base64"] is None


async def test_the_seed_after_the_largest_is_0(focal: Focal) -> None:
    images = await post(focal, TEXT, {"image_seed": 2**63 - 1, "image_number": 2})
    assert [image["seed"] for image in images] == [str(2**63 - 1), "0"]


async def test_every_field_reaches_the_task_under_our_name(focal: Focal) -> None:
    body = {
        "prompt": "a",
        "negative_prompt": "b",
        "style_selections": ["Fooocus Sharp"],
        "performance_selection": "Quality",
        "aspect_ratios_selection": "256*256",
        "image_number": 1,
        "image_seed": 3,
        "sharpness": 3.5,
        "guidance_scale": 6,
        "base_model_name": "embedded",
        "refiner_model_name": "None",
        "refiner_switch": 0.7,
        "loras": [{"model_name": "None", "weight": 0.5}],
        "advanced_params": {
            "sampler_name": "euler",
            "overwrite_step": 5,
            "overwrite_switch": -1.0,
            "adaptive_cfg": 8,
            "disable_seed_increment": True,
        },
        "save_meta": False,
        "meta_scheme": "a111",
        "save_extension": "jpg",
        "save_name": "mine",
        "webhook_url": None,
    }
    async with focal.session.post(TEXT, json=body) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.headers["X-Ignored-Params"] == "save_name"
    params = asked(focal)
    for name in ("prompt", "negative_prompt", "image_seed", "sharpness", "guidance_scale"):
        assert getattr(params, name) == body[name]
    assert params.style_selections == ("Fooocus Sharp",)
    assert (params.sampler_name, params.overwrite_step, params.adaptive_cfg) == ("euler", 5, 8)
    assert params.disable_seed_increment
    assert params.refiner_switch == 0.7
    assert params.save_metadata_to_images is False
    assert (params.metadata_scheme, params.output_format) == ("a1111", "jpg")


@pytest.mark.parametrize("way", ["query", "header"])
async def test_a_binary_answer_is_one_png(focal: Focal, way: str) -> None:
    body = {"prompt": "a", "image_seed": 4, "image_number": 3, "save_extension": "webp"}
    query = {"accept": "image/png"} if way == "query" else {}
    headers = {"Accept": "image/png"} if way == "header" else {}
    async with focal.session.post(TEXT, json=body, params=query, headers=headers) as answer:
        assert (answer.status, answer.content_type) == (200, "image/png")
        picture = await answer.read()
    async with focal.session.post(
        "/v1/engine/generate/",
        json={"prompt": "a", "image_seed": 4},
        headers={"Accept": "image/png"},
    ) as answer:
        assert await answer.read() == picture


async def test_another_accept_is_no_binary_answer(focal: Focal) -> None:
    for accept in ("image/*", "image/png, */*", "application/json"):
        assert isinstance(await post(focal, TEXT, {"prompt": "a"}, Accept=accept), list)


async def test_a_job_is_followed_from_the_queue_to_its_pictures(focal: Focal) -> None:
    focal.device.hold_at_step(2)
    job = await post(focal, TEXT, {"prompt": "a", "image_seed": 5, "async_process": True})
    assert (job["job_type"], job["job_stage"]) == ("Text to Image", "WAITING")
    assert str(UUID(job["job_id"])) == job["job_id"]
    await focal.started()
    path = V1 + "query-job"
    running = await focal.get(path, job_id=job["job_id"], require_step_preview="true")
    assert running["job_stage"] == "RUNNING"
    assert isinstance(running["job_progress"], int)
    assert base64.b64decode(running["job_step_preview"]).startswith(b"\x89PNG")
    assert (await focal.get(path, job_id=job["job_id"]))["job_step_preview"] is None
    waiting = await post(focal, TEXT, {"async_process": True})
    assert (await focal.get(path, job_id=waiting["job_id"]))["job_stage"] == "WAITING"
    counts = await focal.get(V1 + "job-queue")
    assert (counts["running_size"], counts["finished_size"]) == (2, 0)
    assert counts["last_job_id"] == waiting["job_id"]
    lists = await focal.get(V1 + "job-history")
    assert [each["job_id"] for each in lists["queue"]] == [job["job_id"], waiting["job_id"]]
    assert lists["history"] == []
    focal.device.gate.set()
    await focal.ended(UUID(waiting["job_id"]).hex)
    done = await focal.get(path, job_id=job["job_id"])
    assert (done["job_stage"], done["job_progress"]) == ("SUCCESS", 100)
    (image,) = done["job_result"]
    assert (image["seed"], image["finish_reason"]) == ("5", "SUCCESS")
    assert await fetched(focal, image["url"]) == encode("png", 5)


async def test_the_newest_job_is_told_however_many_wait(
    focal: Focal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "PENDING_LIMIT", 1)
    focal.device.hold_at_step(2)
    for _ in range(3):
        newest = await post(focal, TEXT, {"async_process": True})
    counts = await focal.get(V1 + "job-queue")
    assert (counts["running_size"], counts["last_job_id"]) == (3, newest["job_id"])
    focal.device.gate.set()


async def test_the_history_is_paged_filtered_and_deleted(focal: Focal) -> None:
    for i in range(3):
        await post(focal, TEXT, {"prompt": str(i), "image_seed": i})
    path = V1 + "job-history"
    newest = (await focal.get(path, page="0", page_size="2"))["history"]
    assert [each["params"]["prompt"] for each in newest] == ["2", "1"]
    job = newest[0]
    assert job["is_finished"]
    assert job["in_queue_mills"] <= job["start_mills"] <= job["finish_mills"]
    info = job["task_info"]
    assert (info["task_id"], info["finish_reason"]) == (job["job_id"], "SUCCESS")
    assert await fetched(focal, info["result_url"]) == encode("png", 2)
    assert len((await focal.get(path, job_id=job["job_id"]))["history"]) == 1
    assert await focal.get(path, job_id=job["job_id"], delete="true") == {"message": "Deleted"}
    assert await focal.get(path, job_id=job["job_id"], delete="true") == {"message": "Not found"}
    assert len((await focal.get(path))["history"]) == 2
    assert (await focal.get(V1 + "job-queue"))["finished_size"] == 2


async def test_another_site_s_page_deletes_and_unloads_nothing(focal: Focal) -> None:
    browser = {"User-Agent": "Mozilla/5.0", "Referer": "http://evil.example/"}
    for path in (V1 + "job-history?delete=true&job_id=x", "/v1/engines/clean_vram"):
        async with focal.session.get(path, headers=browser) as answer:
            assert answer.status == 403


async def test_an_unknown_job_is_a_job_too(focal: Focal) -> None:
    job = await focal.get(V1 + "query-job", 404, job_id="no-such-job")
    assert (job["job_type"], job["job_stage"], job["job_status"]) == (
        "Not Found",
        "ERROR",
        "Job not found",
    )


async def test_stop_ends_what_runs_and_nothing_that_waits(focal: Focal) -> None:
    focal.device.gate.clear()
    running = asyncio.create_task(post(focal, TEXT, {"prompt": "a"}))
    await focal.started()
    waiting = await post(focal, TEXT, {"async_process": True})
    assert await post(focal, V1 + "stop", {}) == {"msg": "success"}
    (image,) = await running
    assert (image["finish_reason"], image["url"]) == ("USER_CANCEL", None)
    focal.device.gate.set()
    await focal.ended(UUID(waiting["job_id"]).hex)
    job = await focal.get(V1 + "query-job", job_id=waiting["job_id"])
    assert job["job_result"][0]["finish_reason"] == "SUCCESS"


async def test_a_failed_job_says_so_in_each_way_of_answering(focal: Focal) -> None:
    focal.device.failure = RuntimeError("broken")
    assert [image["finish_reason"] for image in await post(focal, TEXT, {})] == ["ERROR"]
    async with focal.session.post(TEXT, json={}, params={"accept": "image/png"}) as answer:
        assert (answer.status, await answer.text()) == (500, "ERROR")
        job_id = answer.headers["X-Task-Id"]
    job = await focal.get(V1 + "query-job", job_id=job_id)
    assert job["job_stage"] == "ERROR"
    assert job["job_status"]


async def test_a_full_queue_is_told_in_each_way_and_keeps_nothing(tmp_path: Path) -> None:
    async with serve(tmp_path, queue_size=1) as focal:
        focal.device.gate.clear()
        await focal.queue()
        await focal.started()
        await focal.queue()
        images = await post(focal, TEXT, {})
        assert [image["finish_reason"] for image in images] == ["QUEUE_IS_FULL"]
        job = await post(focal, TEXT, {"async_process": True})
        assert (job["job_id"], job["job_stage"]) == ("", "ERROR")
        async with focal.session.post(TEXT, json={}, params={"accept": "image/png"}) as answer:
            assert (answer.status, await answer.text()) == (409, "QUEUE_IS_FULL")
            assert int(answer.headers["Retry-After"]) > 0
        assert (await focal.get(V1 + "job-queue"))["running_size"] == 2


async def test_without_the_key_the_family_says_forbidden(tmp_path: Path) -> None:
    async with serve(tmp_path, api_key="secret") as focal:
        for headers in ({}, {"X_API_KEY": "wrong"}):
            reply = await post(focal, TEXT, {}, 403, **headers)
            assert reply["detail"] == "Forbidden"
        assert await post(focal, TEXT, {}, X_API_KEY="secret")


async def test_its_tasks_carry_its_name_in_the_one_history(focal: Focal) -> None:
    await post(focal, TEXT, {"prompt": "a"})
    (record,) = (await focal.get("/tasks"))["history"]
    assert record["family"] == "fooocus-api"


async def test_the_small_endpoints(focal: Focal) -> None:
    assert await focal.get("/ping") == "pong"
    names = await focal.get("/v1/engines/all-models")
    assert await post(focal, "/v1/engines/refresh-models", {}) == names
    assert await focal.get("/v1/engines/clean_vram") == {"message": "ok"}
    (image,) = await post(focal, TEXT, {"image_seed": 6})
    path = image["url"].partition("/outputs/")[2]
    assert await fetched(focal, f"/files/{path}") == encode("png", 6)


async def test_a_webhook_has_the_family_s_body_where_its_request_names_one(
    tmp_path: Path,
) -> None:
    received: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()

    async def receive(request: web.Request) -> web.Response:
        received.put_nowait((request.path, await request.json()))
        return web.Response()

    app = web.Application()
    app.add_routes([web.post("/{name}", receive)])
    async with TestServer(app) as receiver:
        everything = str(receiver.make_url("/all"))
        async with serve(tmp_path, allow_private_urls=True, webhook_url=everything) as focal:
            body = {"prompt": "a", "image_seed": 3, "image_number": 2}
            images = await post(focal, TEXT, body | {"webhook_url": str(receiver.make_url("/own"))})
            await post(focal, TEXT, {"prompt": "b"})
            heard: dict[str, Any] = {}
            async with asyncio.timeout(10):
                while len(heard) < 2:
                    path, data = await received.get()
                    heard[path] = data
    assert set(heard["/own"]) == {"job_id", "job_result"}
    assert str(UUID(heard["/own"]["job_id"])) == heard["/own"]["job_id"]
    expected = [{"url": image["url"], "seed": image["seed"]} for image in images]
    assert heard["/own"]["job_result"] == expected
    assert heard["/all"]["req_params"]["prompt"] == "b"
