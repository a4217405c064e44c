"""A second API family on the service layer: one queue, one history, its own words and errors."""

import base64
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.integration.fake_device import encode
from tests.integration.serving import GENERATE, Focal, serve
from tests.integration.tiny_family import ROUTES

MULTIPART = "multipart/form-data; boundary=b"


@pytest_asyncio.fixture
async def focal(tmp_path: Path) -> AsyncIterator[Focal]:
    async with serve(tmp_path, routes=ROUTES) as running:
        yield running


async def post(focal: Focal, path: str, body: object, status: int = 200, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with focal.session.post(path, json=body, headers=named) as answer:
        assert answer.status == status, await answer.text()
        return await answer.json()


async def fetched(focal: Focal, url: str) -> bytes:
    async with focal.session.get(url) as answer:
        assert answer.status == 200
        return await answer.read()


async def test_its_pictures_are_those_of_the_generate_endpoint(focal: Focal) -> None:
    (drawing,) = await post(focal, "/tiny/draw", {"words": "a cat", "luck": 7, "copies": 2})
    record = await focal.generate({"prompt": "a cat", "image_seed": 7, "image_number": 2})
    assert (drawing["state"], drawing["luck"]) == ("finished", 7)
    for mine, other in zip(drawing["pictures"], record["result"], strict=True):
        assert await fetched(focal, mine) == await fetched(focal, other)


async def test_its_tasks_stand_in_the_one_queue_and_history(focal: Focal) -> None:
    (drawing,) = await post(focal, "/tiny/draw", {"words": "a cat"})
    history = (await focal.get("/tasks"))["history"]
    assert [task["task_id"] for task in history] == [drawing["ticket"]]
    assert history[0]["req_params"]["prompt"] == "a cat"
    assert history[0]["family"] == "tiny"
    focal.device.gate.clear()
    running = await focal.queue(prompt="b")
    await focal.started()
    assert (await focal.get("/tiny/job", ticket=running))["state"] == "running"
    assert "family" not in await focal.get(f"/tasks/{running}")
    focal.device.gate.set()
    assert (await focal.get("/tiny/job", ticket=running, wait="true"))["state"] == "finished"


async def test_a_form_s_picture_is_read_checked_and_stored(focal: Focal) -> None:
    picture = encode("png", 9)
    form = aiohttp.FormData({"words": "again"})
    form.add_field("picture", picture, filename="a.png")
    async with focal.session.post("/tiny/vary", data=form) as answer:
        assert answer.status == 200, await answer.text()
        ticket = (await answer.json())["ticket"]
    record = await focal.ended(ticket)
    assert await fetched(focal, record["req_params"]["uov_input_image"]) == picture
    assert list(focal.device.inputs.values()) == [picture]


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        ({"words": 7}, 400, "words: Expected `str`"),
        ({"words": "x", "copies": 33}, 400, "image_number: "),
        ({}, 400, "words"),
        ("not an object", 400, "Expected `object`"),
    ],
)
async def test_bad_input_is_refused_in_its_own_form_and_leaves_nothing(
    focal: Focal, body: object, status: int, named: str
) -> None:
    reply = await post(focal, "/tiny/draw", body, status)
    assert list(reply) == ["oops"]
    assert named in reply["oops"]
    await focal.nothing_is_left()


async def test_every_other_error_has_its_form_too(tmp_path: Path) -> None:
    async with serve(tmp_path, routes=ROUTES, api_key="secret", queue_size=1) as focal:
        assert list(await post(focal, "/tiny/draw", {"words": "x"}, 401)) == ["oops"]
        focal.device.gate.clear()
        for _ in range(2):
            await focal.generate({"async_process": True}, X_API_KEY="secret")
            if not focal.device.seen:
                await focal.started()
        async with focal.session.post(
            "/tiny/draw", json={"words": "x"}, headers={"X-API-KEY": "secret"}
        ) as answer:
            assert (answer.status, list(await answer.json())) == (429, ["oops"])
            assert int(answer.headers["Retry-After"]) > 0
        async with focal.session.get("/tiny/job?ticket=x", headers={"X-API-KEY": "secret"}) as got:
            assert (got.status, await got.json()) == (404, {"oops": "there is no such task"})
        async with focal.session.get("/tiny/job", headers={"X-API-KEY": "secret"}) as got:
            assert (got.status, await got.json()) == (400, {"oops": "ticket: Required."})


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("multipart/form-data", b"no boundary"),
        (MULTIPART, b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--"),
        (MULTIPART, b"--b\r\n"),
        (MULTIPART, b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xff\r\n--b--\r\n'),
        ("application/x-www-form-urlencoded", b"\xff=1"),
        ("application/x-www-form-urlencoded", b"&".join(b"a=1" for _ in range(300))),
    ],
)
async def test_a_malformed_form_is_refused(focal: Focal, head: str, body: bytes) -> None:
    headers = {"Content-Type": head}
    async with focal.session.post("/tiny/vary", data=body, headers=headers) as answer:
        assert (answer.status, list(await answer.json())) == (400, ["oops"])
    await focal.nothing_is_left()


async def test_a_form_without_its_file_is_refused_by_the_field_s_name(focal: Focal) -> None:
    async with focal.session.post("/tiny/vary", data=aiohttp.FormData({"words": "x"})) as answer:
        assert (answer.status, await answer.json()) == (400, {"oops": "picture: Expected a file"})


def multipart(*sizes: int) -> bytes:
    """Files of these sizes in a form whose boundary is ``b``."""
    head = b'--b\r\nContent-Disposition: form-data; name="picture"; filename="a"\r\n\r\n'
    return b"".join(head + b"x" * size + b"\r\n" for size in sizes) + b"--b--\r\n"


@pytest.mark.parametrize(
    ("sizes", "status"),
    [((2**20,), 415), ((2**20 + 1,), 413), ((2**19, 2**19), 415), ((2**19, 2**19 + 1), 413)],
)
async def test_the_files_of_a_form_count_together_towards_the_limit(
    tmp_path: Path, sizes: tuple[int, ...], status: int
) -> None:
    async def unannounced() -> AsyncIterator[bytes]:
        yield multipart(*sizes)

    headers = {"Content-Type": MULTIPART}
    async with (
        serve(tmp_path, routes=ROUTES, body_limit_mb=1) as focal,
        focal.session.post("/tiny/vary", data=unannounced(), headers=headers) as answer,
    ):
        assert (answer.status, list(await answer.json())) == (status, ["oops"])


async def test_a_form_that_announces_too_much_is_refused(tmp_path: Path) -> None:
    headers, announced = {"Content-Type": MULTIPART}, io.BytesIO(multipart(2**20))
    async with (
        serve(tmp_path, routes=ROUTES, body_limit_mb=1) as focal,
        focal.session.post("/tiny/vary", data=announced, headers=headers) as answer,
    ):
        assert (answer.status, list(await answer.json())) == (413, ["oops"])


async def test_a_repeated_key_joins_the_task_of_another_family(focal: Focal) -> None:
    record = await focal.generate({"prompt": "a"}, Idempotency_Key="one")
    (drawing,) = await post(focal, "/tiny/draw", {"words": "a"}, Idempotency_Key="one")
    assert drawing["ticket"] == record["task_id"]
    assert len(focal.device.seen) == 1


async def test_the_events_of_a_task_are_told_from_the_first_on(focal: Focal) -> None:
    heard = await post(focal, "/tiny/steps", {"words": "a"})
    assert heard[0] == "task.started"
    assert {"task.progress", "task.preview", "task.image"} <= set(heard)
    assert heard.count("task.finished") == 1


async def test_results_are_in_the_form_that_the_family_asks_for(focal: Focal) -> None:
    form = aiohttp.FormData({"words": "again"})
    form.add_field("picture", encode("png", 9), filename="a.png")
    async with focal.session.post("/tiny/vary", data=form) as answer:
        ticket = (await answer.json())["ticket"]
    (picture,) = (await focal.ended(ticket))["result"]
    assert base64.b64decode(picture.removeprefix("data:image/png;base64,")).startswith(b"\x89PNG")


async def test_its_operations_stand_in_the_document_under_its_tag(focal: Focal) -> None:
    paths = (await focal.get("/openapi.json"))["paths"]
    assert paths["/tiny/draw"]["post"]["tags"] == ["tiny"]
    assert [p["name"] for p in paths["/tiny/job"]["get"]["parameters"]] == ["ticket", "wait"]
    assert GENERATE in paths
