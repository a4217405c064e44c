"""comfy-api-simplified watches the server whose address is given; httpx-sse hears the events."""

import asyncio
import json
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import comfy_toolkit
import httpx
import httpx_sse
import requests
import websockets
from comfy_api_simplified import ComfyApiWrapper, ComfyWorkflowWrapper
from comfy_api_simplified.exceptions import ComfyApiError

URL = sys.argv[1]
WAIT_S = 60
SMALL = {"aspect_ratios_selection": "256*256", "overwrite_step": 4, "image_seed": 7}
api = ComfyApiWrapper(URL)


def queued(**params: Any) -> str:
    """The id of a task that our own endpoint has queued, as ComfyUI writes it."""
    body = {"prompt": "a red star", "async_process": True, **SMALL, **params}
    reply = requests.post(f"{URL}/v1/engine/generate/", json=body, timeout=WAIT_S).json()
    return str(uuid.UUID(reply["task_id"]))


def ended(prompt_id: str) -> dict[str, Any]:
    """The record of the task once it has ended."""
    task = uuid.UUID(prompt_id).hex
    reply = requests.get(f"{URL}/tasks/{task}", params={"wait": "60"}, timeout=2 * WAIT_S)
    record: dict[str, Any] = reply.json()
    assert record["task_status"] in ("finished", "stop"), record
    return record


def refusal(ask: Callable[[], object], kind: type[Exception] = ComfyApiError) -> Exception:
    """The error that the client raises."""
    try:
        ask()
    except kind as error:
        return error
    raise AssertionError("it was not refused")


def graphs_are_refused() -> None:
    graph = ComfyWorkflowWrapper(
        {"1": {"class_type": "KSampler", "inputs": {}, "_meta": {"title": "Sample"}}}
    )
    for ask in (
        lambda: api.queue_prompt(graph),
        lambda: api.queue_and_wait_images(graph, "Sample"),
    ):
        assert "400" in str(refusal(ask))
    assert api.get_object_info() == {}
    assert api.get_object_info("KSampler") == {}


def pictures() -> None:
    prompt_id = queued(image_number=2)
    record = ended(prompt_id)
    entry = api.get_history(prompt_id)[prompt_id]
    assert entry["status"]["completed"], entry
    images = entry["outputs"]["1"]["images"]
    assert len(images) == 2
    for image, url in zip(images, record["result"], strict=True):
        made = api.get_image(image["filename"], image["subfolder"], image["type"])
        assert made == requests.get(url, timeout=WAIT_S).content


def queue() -> None:
    running = queued(overwrite_step=200, image_number=8, aspect_ratios_selection="512*512")
    waiting = [queued(), queued()]
    for _ in range(1000):
        told = api.get_queue()
        if told["queue_running"]:
            break
    assert [item[1] for item in told["queue_running"]] == [running], told
    assert [item[1] for item in told["queue_pending"]] == waiting
    assert [api.get_queue_size_before(each) for each in (running, *waiting)] == [0, 1, 2]
    requests.post(f"{URL}/queue", json={"delete": [waiting[0]]}, timeout=WAIT_S)
    assert ended(waiting[0])["task_status"] == "stop"
    api.interrupt()
    assert ended(running)["task_status"] == "stop"
    assert ended(waiting[1])["task_status"] == "finished"


async def watch() -> None:
    """As the client itself waits for a prompt, with a task of our own endpoint in its place."""
    heard: list[str] = []
    previews: list[bytes] = []
    async with asyncio.timeout(WAIT_S), websockets.connect(api.ws_url.format("me")) as socket:
        first = json.loads(await socket.recv())
        assert (first["type"], first["data"]["sid"]) == ("status", "me"), first
        prompt_id = await asyncio.to_thread(queued, overwrite_step=30)
        while True:
            received = await socket.recv()
            if isinstance(received, bytes):
                previews.append(received[8:])
                continue
            message = json.loads(received)
            heard.append(message["type"])
            data = message["data"]
            if message["type"] == "executing" and data["node"] is None:
                assert data["prompt_id"] == prompt_id
                break
    assert {"status", "execution_start", "progress", "executed", "execution_success"} <= set(heard)
    assert previews
    assert all(each[:2] == b"\xff\xd8" or each[:4] == b"\x89PNG" for each in previews)


def the_rest() -> None:
    stats = api.get_system_stats()
    assert stats["devices"][0]["type"] == "cpu", stats
    assert stats["system"]["ram_total"] > 0
    assert api.get_embeddings() == []
    picture = ended(queued())["result"][0]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a star.png"
        file.write_bytes(requests.get(picture, timeout=WAIT_S).content)
        where = api.upload_image(file)
        assert api.get_image(where["name"], where["subfolder"], where["type"]) == file.read_bytes()


def a_toolkit() -> None:
    """comfy-toolkit, another published client: state of the machine, results, pictures."""
    toolkit = comfy_toolkit.ComfyClient(URL)
    assert toolkit.is_online()
    assert toolkit.vram_stats()["vram_total"] > 0
    prompt_id = queued()
    url = ended(prompt_id)["result"][0]
    assert toolkit.queue_status() == {"running": 0, "pending": 0}
    (image,) = toolkit.wait_for_images(prompt_id)
    assert toolkit.download(image) == requests.get(url, timeout=WAIT_S).content
    toolkit.interrupt()
    refused = refusal(lambda: toolkit.submit({"1": {}}), comfy_toolkit.ComfySubmitError)
    assert "graphs_not_executed" in str(refused)


def server_sent_events() -> None:
    """Our own stream of events, by a library that parses such streams strictly."""
    with (
        httpx.Client(timeout=WAIT_S) as client,
        httpx_sse.connect_sse(client, "GET", f"{URL}/v1/events") as source,
    ):
        asking = threading.Thread(target=queued)
        asking.start()
        kinds: list[str] = []
        numbers: list[int] = []
        for event in source.iter_sse():
            kinds.append(event.event)
            numbers.append(int(event.id))
            assert event.json()["seq"] == numbers[-1]
            if event.event == "task.finished":
                break
        asking.join()
    assert {"task.queued", "task.started", "task.progress", "task.image"} <= set(kinds), kinds
    assert numbers == sorted(numbers)
    replay = {"Last-Event-ID": str(numbers[0])}
    with (
        httpx.Client(timeout=WAIT_S) as client,
        httpx_sse.connect_sse(client, "GET", f"{URL}/v1/events", headers=replay) as source,
    ):
        assert int(next(source.iter_sse()).id) > numbers[0]


graphs_are_refused()
pictures()
queue()
asyncio.run(watch())
the_rest()
a_toolkit()
server_sent_events()
