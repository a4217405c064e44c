"""ComfyUI's watching side: queue, history, pictures, WebSocket; graphs are refused."""

import asyncio
import base64
import json
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import Image

from handlers.comfyui.system import device_info
from handlers.service.models import Memory
from pipeline.scheduling.engine_protocol import Hardware
from pipeline.scheduling.worker import DeviceState
from tests.integration.fake_device import encode
from tests.integration.serving import Focal, serve

WAIT_S = 10


async def post(focal: Focal, path: str, body: object = None, status: int = 200) -> Any:
    async with focal.session.post(path, json=body) as answer:
        assert answer.status == status, await answer.text()
        text = await answer.text()
        return json.loads(text) if text else None


def prompt_id(task_id: str) -> str:
    return str(uuid.UUID(task_id))


@asynccontextmanager
async def watching(focal: Focal, path: str = "/ws") -> AsyncIterator[Callable[[], Any]]:
    """A connected client; what it gives receives the next message."""
    async with focal.session.ws_connect(path, params={"clientId": "me"}) as socket:

        async def receive() -> Any:
            message = await socket.receive(WAIT_S)
            if message.type is aiohttp.WSMsgType.TEXT:
                return json.loads(message.data)
            assert message.type is aiohttp.WSMsgType.BINARY, message
            return message.data

        receive.socket = socket  # type: ignore[attr-defined]
        yield receive


async def until(receive: Callable[[], Any], kind: str) -> list[Any]:
    """The messages up to the first of that type, it included."""
    heard: list[Any] = []
    async with asyncio.timeout(WAIT_S):
        while not heard or isinstance(heard[-1], bytes) or heard[-1]["type"] != kind:
            heard.append(await receive())
    return heard


def of(messages: list[Any], kind: str) -> list[dict[str, Any]]:
    return [m["data"] for m in messages if isinstance(m, dict) and m["type"] == kind]


async def test_a_graph_is_refused_honestly_and_leaves_nothing(focal: Focal) -> None:
    graph = {"prompt": {"3": {"class_type": "KSampler", "inputs": {}}}, "client_id": "me"}
    bodies: list[object] = [graph, {}, [], "x"]
    for body in bodies:
        reply = await post(focal, "/prompt", body, 400)
        assert set(reply) == {"error", "node_errors"}
        assert set(reply["error"]) == {"type", "message", "details", "extra_info"}
        assert reply["error"]["type"] == "graphs_not_executed"
        assert "does not execute graphs" in reply["error"]["message"]
    await focal.nothing_is_left()
    assert await focal.get("/object_info") == {}
    assert await focal.get("/object_info/KSampler") == {}


async def test_the_queue_is_that_of_every_api(focal: Focal) -> None:
    assert await focal.get("/prompt") == {"exec_info": {"queue_remaining": 0}}
    focal.device.gate.clear()
    first = await focal.queue(prompt="a cat")
    await focal.started()
    second, third = [await focal.queue(prompt=text) for text in ("a dog", "a bird")]
    told = await focal.get("/queue")
    (running,), pending = told["queue_running"], told["queue_pending"]
    assert running[:2] == [0, prompt_id(first)]
    assert running[2]["1"]["inputs"]["prompt"] == "a cat"
    assert running[4] == ["1"]
    assert [item[1] for item in pending] == [prompt_id(second), prompt_id(third)]
    assert await focal.get("/api/prompt") == {"exec_info": {"queue_remaining": 3}}
    assert await post(focal, "/queue", {"delete": [prompt_id(second), "unknown"]}) is None
    assert (await focal.ended(second))["task_status"] == "stop"
    await post(focal, "/api/queue", {"clear": True})
    assert (await focal.ended(third))["task_status"] == "stop"
    focal.device.gate.set()
    assert (await focal.ended(first))["task_status"] == "finished"


async def test_interrupt_ends_what_runs_and_leaves_what_waits(focal: Focal) -> None:
    focal.device.gate.clear()
    first = await focal.queue(prompt="a")
    await focal.started()
    second = await focal.queue(prompt="b")
    await post(focal, "/interrupt", {"prompt_id": prompt_id(second)})
    async with focal.session.post("/interrupt") as answer:
        assert (answer.status, await answer.text()) == (200, "")
    assert (await focal.ended(first))["task_status"] == "stop"
    await focal.started()
    await post(focal, "/interrupt", {"prompt_id": prompt_id(second)})
    assert (await focal.ended(second))["task_status"] == "stop"


async def test_the_history_leads_to_the_pictures(focal: Focal) -> None:
    record = await focal.generate({"prompt": "a cat", "image_number": 2, "image_seed": 3})
    name = prompt_id(record["task_id"])
    entry = (await focal.get(f"/history/{name}"))[name]
    assert entry == (await focal.get(f"/api/history/{record['task_id']}"))[name]
    assert (entry["status"]["status_str"], entry["status"]["completed"]) == ("success", True)
    assert [kind for kind, _ in entry["status"]["messages"]] == [
        "execution_start",
        "execution_success",
    ]
    assert entry["prompt"][1] == name
    images = entry["outputs"]["1"]["images"]
    for image, url in zip(images, record["result"], strict=True):
        async with focal.session.get("/view", params=image) as mine:
            assert mine.headers["Content-Type"] == "image/png"
            assert image["filename"] in mine.headers["Content-Disposition"]
            async with focal.session.get(url) as other:
                assert await mine.read() == await other.read()
        async with focal.session.get("/view", params={"filename": image["filename"]}) as bare:
            assert (bare.status, bare.content_length) == (200, len(await bare.read()))
        params = {**image, "preview": "webp;90", "channel": "rgb"}
        async with focal.session.get("/view", params=params) as small:
            assert Image.open(BytesIO(await small.read())).format == "WEBP"


async def test_the_history_can_be_paged_from_either_end(focal: Focal) -> None:
    made = [prompt_id((await focal.generate({"prompt": text}))["task_id"]) for text in "abcd"]

    async def page(**query: str) -> list[str]:
        return list(await focal.get("/history", 200, **query))

    assert await page() == made
    assert await page(max_items="2") == made[2:]
    assert await page(max_items="2", offset="1") == made[1:3]
    assert await page(offset="3") == made[3:]
    assert await page(offset="9") == []
    assert await page(max_items="0") == []
    reply = await focal.get("/history", status=422, offset="x")
    assert "offset" in reply["error"]["message"]


async def test_what_has_not_ended_or_is_unknown_has_no_history(focal: Focal) -> None:
    focal.device.gate.clear()
    task_id = await focal.queue(prompt="a")
    await focal.started()
    assert await focal.get(f"/history/{prompt_id(task_id)}") == {}
    assert await focal.get("/history/unknown") == {}


async def test_the_history_is_not_cleared(focal: Focal) -> None:
    record = await focal.generate({"prompt": "a"})
    for body in ({"clear": True}, {"delete": [prompt_id(record["task_id"])]}):
        reply = await post(focal, "/history", body, 501)
        assert "/tasks/{task_id}/delete" in reply["error"]["message"]
    assert len(await focal.get("/history")) == 1


async def test_a_failure_is_told_in_the_history_and_to_watchers(focal: Focal) -> None:
    focal.device.failure = RuntimeError("no more paint")
    async with watching(focal) as receive:
        record = await focal.generate({"prompt": "a"}, status=500)
        heard = await until(receive, "execution_error")
    (fault,) = of(heard, "execution_error")
    assert (fault["prompt_id"], fault["node_id"]) == (prompt_id(record["task_id"]), "1")
    assert fault["exception_message"] == record["error"]
    entry = (await focal.get("/history"))[prompt_id(record["task_id"])]
    assert (entry["status"]["status_str"], entry["status"]["completed"]) == ("error", False)
    assert entry["outputs"] == {}


async def test_a_watcher_hears_a_task_from_its_start_to_its_pictures(focal: Focal) -> None:
    async with watching(focal) as receive:
        first = await receive()
        assert first["type"] == "status"
        assert first["data"] == {"status": {"exec_info": {"queue_remaining": 0}}, "sid": "me"}
        record = await focal.generate({"prompt": "a", "image_number": 2})
        heard = await until(receive, "execution_success")
        heard.append(await receive())
    name = prompt_id(record["task_id"])
    kinds = [m["type"] if isinstance(m, dict) else "preview" for m in heard]
    assert kinds.index("execution_start") < kinds.index("executing") < kinds.index("progress")
    assert [data["node"] for data in of(heard, "executing")] == ["1", None]
    assert {data["prompt_id"] for data in of(heard, "executing")} == {name}
    values = [data["value"] for data in of(heard, "progress")]
    assert values == sorted(values)
    assert {data["max"] for data in of(heard, "progress")} == {100}
    states = of(heard, "progress_state")
    assert {state["nodes"]["1"]["state"] for state in states} == {"running"}
    (executed,) = of(heard, "executed")
    shown = (await focal.get("/history"))[name]["outputs"]["1"]
    assert executed["output"] == shown
    previews = [m for m in heard if isinstance(m, bytes)]
    assert previews
    for each in previews:
        assert each[:8] == (1).to_bytes(4) + (2).to_bytes(4)  # a preview, in PNG
        assert Image.open(BytesIO(each[8:])).format == "PNG"


async def test_previews_have_metadata_for_a_client_that_takes_it(focal: Focal) -> None:
    async with watching(focal, "/api/ws") as receive:
        await receive()
        flags = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
        await receive.socket.send_json(flags)  # type: ignore[attr-defined]
        answer = await receive()
        assert answer["type"] == "feature_flags"
        assert answer["data"] == await focal.get("/features")
        record = await focal.generate({"prompt": "a"})
        heard = await until(receive, "execution_success")
    (preview, *_) = [m for m in heard if isinstance(m, bytes)]
    size = int.from_bytes(preview[4:8])
    told = json.loads(preview[8 : 8 + size])
    assert int.from_bytes(preview[:4]) == 4
    assert (told["image_type"], told["prompt_id"]) == ("image/png", prompt_id(record["task_id"]))
    assert Image.open(BytesIO(preview[8 + size :])).format == "PNG"


@pytest.mark.parametrize("frame", ["", "x", "[]", '{"type": 7}', "[" * 5000])
async def test_any_other_first_frame_is_ignored(focal: Focal, frame: str) -> None:
    async with watching(focal) as receive:
        await receive.socket.send_str(frame)  # type: ignore[attr-defined]
        await focal.generate({"prompt": "a"})
        assert of(await until(receive, "execution_success"), "executed")


async def test_a_late_watcher_hears_of_what_runs_already(focal: Focal) -> None:
    focal.device.hold_at_step(2)
    task_id = await focal.queue(prompt="a")
    await focal.started()
    async with watching(focal) as receive:
        heard = await until(receive, "progress_state")
        assert of(heard, "status")[0]["status"]["exec_info"]["queue_remaining"] == 1
        assert of(heard, "executing") == [
            {"node": "1", "display_node": "1", "prompt_id": prompt_id(task_id)}
        ]
        await post(focal, "/interrupt")
        heard = await until(receive, "execution_interrupted")
        assert (await receive())["data"] == {"node": None, "prompt_id": prompt_id(task_id)}


async def test_a_waiting_task_that_is_ended_was_no_execution(focal: Focal) -> None:
    focal.device.gate.clear()
    first = await focal.queue(prompt="a")
    await focal.started()
    second = await focal.queue(prompt="b")
    async with watching(focal) as receive:
        await post(focal, "/queue", {"delete": [prompt_id(second)]})
        focal.device.gate.set()
        heard = await until(receive, "execution_success")
    assert of(heard, "execution_interrupted") == []
    assert of(heard, "execution_success")[0]["prompt_id"] == prompt_id(first)


async def test_without_a_client_id_the_socket_is_our_own(focal: Focal) -> None:
    async with focal.session.ws_connect("/ws") as socket:
        assert json.loads((await socket.receive(WAIT_S)).data)["type"] == "hello"


async def test_off_it_leaves_our_own_socket(tmp_path: Path) -> None:
    async with (
        serve(tmp_path, apis="none") as focal,
        focal.session.ws_connect("/ws?clientId=me") as socket,
    ):
        assert json.loads((await socket.receive(WAIT_S)).data)["type"] == "hello"


async def test_the_key_opens_it_as_a_basic_password(tmp_path: Path) -> None:
    sent = {"Authorization": "Basic " + base64.b64encode(b"me:secret").decode()}
    async with serve(tmp_path, api_key="secret") as focal:
        async with focal.session.get("/queue") as answer:
            assert (answer.status, (await answer.json())["error"]["type"]) == (401, "unauthorized")
        async with focal.session.get("/queue", headers=sent) as answer:
            assert answer.status == 200
        async with focal.session.ws_connect("/ws?clientId=me", headers=sent) as socket:
            assert json.loads((await socket.receive(WAIT_S)).data)["type"] == "status"


async def test_an_upload_is_stored_and_can_be_viewed(focal: Focal) -> None:
    picture = encode("png", 9)
    form = aiohttp.FormData({"subfolder": "mine", "overwrite": "true"})
    form.add_field("image", picture, filename="a.png")
    async with focal.session.post("/upload/image", data=form) as answer:
        assert answer.status == 200, await answer.text()
        where = await answer.json()
    assert set(where) == {"name", "subfolder", "type"}
    params = {"filename": where["name"], "subfolder": where["subfolder"], "type": where["type"]}
    async with focal.session.get("/view", params=params) as answer:
        assert await answer.read() == picture


async def test_bad_input_is_refused_in_its_own_form_and_leaves_nothing(focal: Focal) -> None:
    form = aiohttp.FormData()
    form.add_field("image", b"no picture", filename="a.png")
    async with focal.session.post("/upload/image", data=form) as answer:
        assert (answer.status, (await answer.json())["error"]["type"]) == (415, "unreadable_image")
    assert (await post(focal, "/queue", {"delete": 7}, 422))["error"]["type"] == "invalid_field"
    for query, status in (
        ("filename=no.png", 404),
        ("filename=..%2Fdb.sqlite3", 404),
        ("filename=a.png&subfolder=..", 404),
        ("filename=a.png&type=temp", 404),
        ("filename=a.png&type=other", 422),
        ("filename=a.png&channel=a", 501),
        ("subfolder=x", 422),
    ):
        reply = await focal.get(f"/view?{query}", status=status)
        assert set(reply) == {"error", "node_errors"}, query
    await focal.nothing_is_left()


async def test_the_machine_and_its_models_are_told(focal: Focal) -> None:
    stats = await focal.get("/system_stats")
    assert stats["system"]["ram_total"] >= stats["system"]["ram_free"] > 0
    assert stats["system"]["server"].startswith("Focal ")
    (device,) = stats["devices"]
    assert set(device) >= {"name", "type", "vram_total", "vram_free", "torch_vram_total"}
    assert (await focal.get("/api/features"))["max_upload_size"] == 64 * 2**20
    assert "checkpoints" in await focal.get("/models")
    assert await focal.get("/models/checkpoints") == ["embedded"]
    assert await focal.get("/models/vae") == []
    assert (await focal.get("/models/unet", status=404))["error"]["type"] == "not_found"
    assert await focal.get("/embeddings") == []
    assert await post(focal, "/free", {"unload_models": True}) is None
    assert await post(focal, "/free", {}) is None


def test_a_device_is_told_by_its_hardware() -> None:
    ram = Memory(process=1, available=2, total=3)
    card = Hardware(description="cuda:1 Some Card", memory_bytes=5)
    told = device_info(DeviceState(name="auto", state="ready", hardware=card), ram)
    assert (told.name, told.type, told.index) == ("cuda:1 Some Card", "cuda", 1)
    assert (told.vram_total, told.vram_free) == (5, 0)
    told = device_info(DeviceState(name="cpu"), ram)
    assert (told.type, told.index, told.vram_total, told.vram_free) == ("cpu", None, 3, 2)


async def test_its_operations_stand_in_the_document_under_its_tag(focal: Focal) -> None:
    paths = (await focal.get("/openapi.json"))["paths"]
    assert paths["/queue"]["get"]["tags"] == ["comfyui"]
    assert paths["/queue"]["post"]["operationId"] == "comfyui_change_queue"
    assert "/api/queue" not in paths
    assert paths["/ws"]["get"]["tags"] == ["events"]
