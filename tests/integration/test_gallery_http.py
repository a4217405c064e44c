"""History cards, favourites, single deletion with undo, retry, thumbnails and models over HTTP."""

import base64
import io
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bus.events import now_ms
from handlers.service_keys import DELETION
from pipeline.errors import PipelineError
from tests.integration.fake_device import encode
from tests.integration.serving import Focal, serve
from tests.integration.test_queue_http import post


async def test_history_is_searched_by_prompt_and_counted(focal: Focal) -> None:
    for prompt in ("a red star", "a red moon", "a blue star"):
        await focal.generate({"prompt": prompt})
    found = await focal.get("/v1/history", search="RED", limit="1")
    assert (found["total"], len(found["items"])) == (2, 1)
    assert found["items"][0]["prompt"] == "a red moon"
    assert found["items"][0]["images"][0].startswith("/outputs/")
    rest = await focal.get("/v1/history", search="red", offset="1")
    assert [card["prompt"] for card in rest["items"]] == ["a red star"]
    summary = await focal.get("/v1/history/summary")
    assert summary["statuses"] == {"finished": 3}
    assert summary["models"] == {"embedded": 3}


@pytest.mark.parametrize(
    ("name", "value"),
    [("limit", "501"), ("offset", "-1"), ("favourite", "yes"), ("start_at", "then")],
)
async def test_a_wrong_history_query_is_named(focal: Focal, name: str, value: str) -> None:
    reply = await focal.get("/v1/history", status=422, **{name: value})
    assert reply["detail"][0]["loc"] == ["query", name]


async def test_a_favourite_is_marked_and_unmarked(focal: Focal) -> None:
    task_id = (await focal.generate({}))["task_id"]
    assert await post(focal, f"/tasks/{task_id}/favourite") == {"favourite": True}
    assert (await focal.get("/v1/history", favourite="1"))["total"] == 1
    assert await post(focal, f"/tasks/{task_id}/favourite", on="0") == {"favourite": False}
    assert (await focal.get("/v1/history", favourite="1"))["total"] == 0
    await post(focal, "/tasks/nobody/favourite", 404)


async def test_a_deleted_task_can_be_restored_and_is_removed_in_the_end(focal: Focal) -> None:
    record = await focal.generate({})
    task_id, url = record["task_id"], record["result"][0]
    deleted = await post(focal, f"/tasks/{task_id}/delete")
    assert now_ms() < deleted["until_mills"] <= now_ms() + 60_000
    await focal.get(f"/tasks/{task_id}", status=404)
    assert len(focal.files()) == 1
    await post(focal, f"/tasks/{task_id}/restore")
    assert (await focal.get(f"/tasks/{task_id}")) == record
    await focal.session.get(url.replace("/outputs/", "/thumbnails/"))
    assert len(focal.files()) == 2
    await post(focal, f"/tasks/{task_id}/delete")
    assert await focal.app[DELETION].empty_trash(now_ms()) == 0
    assert await focal.app[DELETION].empty_trash(now_ms() + 61_000) == 1
    assert focal.files() == []
    await post(focal, f"/tasks/{task_id}/restore", 404)
    await post(focal, f"/tasks/{task_id}/delete", 404)


async def test_a_task_that_has_not_ended_is_neither_deleted_nor_retried(focal: Focal) -> None:
    focal.device.gate.clear()
    task_id = await focal.queue()
    await focal.started()
    for action in ("delete", "retry"):
        assert (await post(focal, f"/tasks/{task_id}/{action}", 409))["code"] == "not_ended"


async def test_a_failed_task_is_retried_with_the_same_seed(focal: Focal) -> None:
    focal.device.failure = PipelineError("the device had enough")
    failed = await focal.ended(await focal.queue(prompt="again", image_seed=2**63 - 1))
    assert failed["task_status"] == "failed"
    focal.device.failure = None
    reply = await post(focal, f"/tasks/{failed['task_id']}/retry")
    assert reply["task_status"] == "pending"
    record = await focal.ended(reply["task_id"])
    assert record["task_status"] == "finished"
    assert record["req_params"] == failed["req_params"]
    await post(focal, "/tasks/nobody/retry", 404)


async def test_a_retry_reads_its_pictures_anew_and_says_at_once_that_one_is_gone(
    focal: Focal,
) -> None:
    picture = base64.b64encode(encode("png", 5)).decode()
    varied = await focal.generate({"uov_method": "Vary (Subtle)", "uov_input_image": picture})
    (stored,) = [name for name in focal.files() if name.startswith("inputs/")]
    again = await post(focal, f"/tasks/{varied['task_id']}/retry")
    assert (await focal.ended(again["task_id"]))["req_params"] == varied["req_params"]
    (focal.folder / stored).unlink()
    before = await focal.get("/tasks")
    await post(focal, f"/tasks/{varied['task_id']}/retry", 404)
    assert await focal.get("/tasks") == before


async def test_a_row_of_the_reference_server_is_retried_with_a_seed_of_its_own(
    tmp_path: Path,
) -> None:
    picture = encode("png", 6)
    async with serve(tmp_path) as focal:
        (tmp_path / "inputs" / "old.png").write_bytes(picture)
        await focal.ended(await focal.queue())
        params = {
            "prompt": "old",
            "image_seed": -1,
            "uov_method": "Vary (Subtle)",
            "uov_input_image": f"{focal.url}/inputs/old.png",
        }
        with sqlite3.connect(tmp_path / "outputs" / "db.sqlite3") as database:
            database.execute("UPDATE generate_record SET req_params = ?", (json.dumps(params),))
        (old,) = (await focal.get("/tasks"))["history"]
        again = await post(focal, f"/tasks/{old['task_id']}/retry")
        await focal.ended(again["task_id"])
        (made,) = [task for task in focal.device.seen if task.task_id == again["task_id"]]
    assert made.params.image_seed >= 0
    assert made.params.uov_input_image == "/inputs/old.png"


async def test_a_repeated_key_retries_once(focal: Focal) -> None:
    task_id = (await focal.generate({}))["task_id"]
    ids = set()
    for _ in range(3):
        key = {"Idempotency-Key": "again 1"}
        async with focal.session.post(f"/tasks/{task_id}/retry", headers=key) as answer:
            ids.add((await answer.json())["task_id"])
    assert len(ids) == 1
    await focal.ended(ids.pop())
    assert len(focal.device.seen) == 2


async def test_a_thumbnail_is_made_once_and_a_picture_can_go_without_its_words(
    focal: Focal, tmp_path: Path
) -> None:
    url = (await focal.generate({}))["result"][0]
    for _ in range(2):
        async with focal.session.get(url.replace("/outputs/", "/thumbnails/")) as answer:
            assert answer.status == 200
            assert "immutable" in answer.headers["Cache-Control"]
            with Image.open(io.BytesIO(await answer.read())) as small:
                assert small.format == "WEBP"
    kept = [name for name in focal.files() if ".thumbnails" in name]
    assert len(kept) == 1
    async with focal.session.get(url, params={"metadata": "0"}) as answer:
        assert answer.content_type == "image/png"
        assert b"tEXt" not in await answer.read()
    for path in ("/thumbnails/2026-01-01/x.png", f"/outputs/.thumbnails/{kept[0].split('/')[-1]}"):
        async with focal.session.get(path) as answer:
            assert answer.status == 404


async def test_models_and_presets_say_what_is_there(focal: Focal) -> None:
    loras = focal.folder / "models" / "loras"
    loras.mkdir(parents=True)
    (loras / "style.safetensors").write_bytes(b"12345")
    models: dict[str, Any] = await focal.get("/v1/models")
    assert models["checkpoints"] == [{"name": "embedded", "bytes": 0}]
    assert models["loras"] == [{"name": "style.safetensors", "bytes": 5}]
    assert models["memory"]["process"] > 0
    assert "Fooocus V2" in models["styles"]
    presets = models["presets"]
    assert presets[0]["name"] == "embedded"
    assert presets[0]["is_initial"]
    assert presets[0]["parameters"]["base_model_name"] == "embedded"
    assert presets[0]["sizes"] == ["256*256", "320*192", "192*320"]
    assert {"default", "anime"} <= {preset["name"] for preset in presets}
    assert not any(preset["problem"] for preset in presets)
