"""What must be refused, how, and that nothing is left behind."""

import asyncio
import errno
import json
import os
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from yarl import URL

from pipeline.request.choices import NO_MODEL
from pipeline.request.delivery import GenerateRequest
from tests.integration.bad_values import BAD
from tests.integration.serving import GENERATE, WAIT_S, Focal, serve

pytestmark = pytest.mark.asyncio(loop_scope="module")


OUTSIDE = ["../../etc/passwd", "..\\..\\x", "/etc/passwd", "%2e%2e/x", "..", "a/../../x", "CON"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Focal]:
    """One server for all requests that are refused: none may leave anything for the next one."""
    async with serve(tmp_path_factory.mktemp("bad_input"), body_limit_mb=1) as running:
        yield running


async def refusal(focal: Focal, body: bytes, status: int, **headers: str) -> dict[str, Any]:
    """The JSON of the refusal of a body, after a look at what was left behind."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with focal.session.post(GENERATE, data=BytesIO(body), headers=named) as answer:
        assert answer.status == status, await answer.text()
        assert answer.content_type == "application/json"
        reply: dict[str, Any] = await answer.json()
    assert reply["detail"]
    assert reply["code"]
    await focal.nothing_is_left()
    return reply


async def raw(focal: Focal, head: bytes, *body: bytes, half_close: bool = False) -> bytes:
    """Send bytes as they are and return what comes back."""
    url = URL(focal.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        host = f"{url.host}:{url.port}".encode()
        writer.write(head.replace(b"HOST", host))
        for part in body:
            writer.write(part)
            await writer.drain()
        if half_close:
            writer.write_eof()
        return await asyncio.wait_for(reader.read(65536), WAIT_S)
    except (ConnectionError, BrokenPipeError):
        return b""
    finally:
        writer.close()


async def test_the_table_has_every_field_of_the_request() -> None:
    assert list(BAD) == sorted(BAD, key=list(BAD).index)
    assert set(BAD) == set(GenerateRequest.__struct_fields__)


@pytest.mark.parametrize("field", BAD)
async def test_a_wrong_value_is_refused_by_name(shared: Focal, field: str) -> None:
    for value, place in BAD[field]:
        reply = await refusal(shared, json.dumps({field: value}).encode(), 422)
        (detail,) = reply["detail"]
        assert detail["loc"] == ["body", field, *place], (value, detail)
        assert detail["msg"]
        assert detail["type"]


@pytest.mark.parametrize("field", ["sampler_name", "scheduler_name", "performance_selection"])
async def test_an_unknown_choice_is_told_the_legal_ones(shared: Focal, field: str) -> None:
    reply = await refusal(shared, json.dumps({field: "nonsense"}).encode(), 422)
    default = getattr(GenerateRequest(), field)
    assert default in reply["detail"][0]["msg"]


@pytest.mark.parametrize("field", ["base_model_name", "refiner_model_name", "vae_name", "preset"])
async def test_an_unknown_file_is_a_404_that_never_leaves_its_folder(
    shared: Focal, field: str
) -> None:
    for name in ("no such file", *OUTSIDE):
        reply = await refusal(shared, json.dumps({field: name}).encode(), 404)
        assert reply["code"] == "model_not_found"
        assert "root:" not in reply["detail"]


async def test_an_unknown_lora_is_a_404(shared: Focal) -> None:
    for name in ("no such file", *OUTSIDE):
        body = json.dumps({"loras": [{"model_name": NO_MODEL}, {"model_name": name}]}).encode()
        reply = await refusal(shared, body, 404)
        assert reply["code"] == "model_not_found"


async def test_a_model_of_the_preset_that_is_not_installed_is_a_503_that_says_what_to_do(
    shared: Focal,
) -> None:
    reply = await refusal(shared, b'{"preset": "default"}', 503)
    assert reply["code"] == "model_not_installed"
    assert ".safetensors" in reply["detail"]
    assert "models/checkpoints" in reply["detail"]


@pytest.mark.parametrize(
    ("body", "position"),
    [
        (b"", 0),
        (b"<html>", 0),
        (b'{"prompt": "a cat"', 18),
        (b'{"prompt": "a ca', 16),
        (b'{"prompt": }', 11),
        (b'{"image_number": NaN}', 17),
        (b'{"prompt": "a"} trailing', 17),
        (b"\xff\xfe{}", 0),
        (rb'{"prompt": "\ud800"}', 20),
    ],
)
async def test_a_body_that_is_not_json_is_a_400_with_the_byte_position(
    shared: Focal, body: bytes, position: int
) -> None:
    reply = await refusal(shared, body, 400)
    assert reply["code"] == "invalid_json"
    assert f"byte {position})" in reply["detail"]


@pytest.mark.parametrize("body", [b"[]", b"7", b"null", b'"text"', b"true"])
async def test_json_that_is_no_object_is_refused(shared: Focal, body: bytes) -> None:
    reply = await refusal(shared, body, 422)
    assert reply["detail"][0]["loc"] == ["body"]


async def test_json_nested_without_end_is_refused(shared: Focal) -> None:
    await refusal(shared, b"[" * 100_000, 400)
    await refusal(shared, b'{"loras":' * 50_000, 400)


async def test_a_body_that_is_too_large_is_a_413_that_names_the_limit(shared: Focal) -> None:
    body = json.dumps({"prompt": "x" * 2**20}).encode()
    reply = await refusal(shared, body, 413)
    assert reply["code"] == "body_too_large"
    assert "1 MiB" in reply["detail"]


async def test_a_hundred_megabytes_are_refused_before_they_are_read(shared: Focal) -> None:
    head = b"POST /v1/engine/generate/ HTTP/1.1\r\nHost: HOST\r\nContent-Length: 104857600\r\n\r\n"
    answer = await raw(shared, head, b"{")
    assert answer.startswith(b"HTTP/1.1 413 ")
    await shared.nothing_is_left()


async def test_a_hundred_megabytes_in_chunks_are_refused_on_the_way(shared: Focal) -> None:
    head = b"POST /v1/engine/generate/ HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"100000\r\n" + b"x" * 2**20 + b"\r\n"
    answer = await raw(shared, head, *[chunk] * 3)
    assert answer.startswith(b"HTTP/1.1 413 ")
    await shared.nothing_is_left()


async def test_a_body_that_breaks_off_queues_nothing(shared: Focal) -> None:
    head = b"POST /v1/engine/generate/ HTTP/1.1\r\nHost: HOST\r\nContent-Length: 100\r\n\r\n"
    answer = await raw(shared, head, b'{"prompt": "a cat"}', half_close=True)
    assert not answer.startswith(b"HTTP/1.1 200")
    chunked = (
        b"POST /v1/engine/generate/ HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    answer = await raw(shared, chunked, b"5\r\n{}", half_close=True)
    assert not answer.startswith(b"HTTP/1.1 200")
    answer = await raw(shared, chunked, b"zz\r\n{}\r\n0\r\n\r\n")
    assert answer.split(b" ")[1] == b"400"
    await shared.nothing_is_left()


async def test_no_path_leads_out_of_its_folder(shared: Focal) -> None:
    places = ("/outputs/2026-01-01/", "/outputs/", "/inputs/", "/static/", "/tasks/")
    steps = ("../", "..%2f", "%2e%2e/", "%2e%2e%2f", "..%5c", "....//", "..%00/")
    for place in places:
        for step in steps:
            path = f"{place}{step * 4}etc/passwd"
            url = URL(f"{shared.url}{path}", encoded=True)
            async with shared.session.get(url) as answer:
                assert answer.status in (400, 404), path
                assert b"root:" not in await answer.read(), path


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), ({"X_API_KEY": "wrong"}, 403), ({"Authorization": "Bearer wrong"}, 403)],
)
async def test_without_the_right_key_nothing_happens(
    tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    async with serve(tmp_path, api_key="right") as focal:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with focal.session.post(GENERATE, data=b"{}", headers=named) as answer:
            assert answer.status == status
            assert "right" not in await answer.text()
        focal.session.headers["X-API-KEY"] = "right"
        await focal.nothing_is_left()
        assert (await focal.generate({}))["task_status"] == "finished"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Host": "rebound.example"},
    ],
)
async def test_another_sites_page_cannot_post(shared: Focal, headers: dict[str, Any]) -> None:
    await refusal(shared, b"{}", 403, **headers)


async def test_a_full_queue_answers_at_once_when_to_come_back(tmp_path: Path) -> None:
    async with serve(tmp_path, queue_size=1) as focal:
        focal.device.gate.clear()
        await focal.queue()
        await focal.started()
        await focal.queue()
        before = await focal.get("/tasks")
        for way in ({}, {"async_process": True}, {"stream_output": True}):
            async with focal.session.post(GENERATE, json=way) as answer:
                assert answer.status == 429
                assert int(answer.headers["Retry-After"]) > 0
                assert (await answer.json())["code"] == "queue_full"
        assert await focal.get("/tasks") == before
        assert focal.files() == []


async def test_a_full_disk_fails_the_task_and_the_server_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operating system has no room for the picture's bytes."""

    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with serve(tmp_path) as focal:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", no_room)
            record = await focal.generate({}, status=500)
        assert record["task_status"] == "failed"
        assert record["code"] == "disk_full"
        assert "full" in record["error"]
        assert str(tmp_path) not in json.dumps(record)
        assert focal.files() == []
        assert (await focal.generate({}))["task_status"] == "finished"


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:1/", "http://localhost/", "http://[::1]/", "http://a:99999/"]
)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_webhook_that_would_not_be_sent_is_refused_with_its_field(
    shared: Focal, address: str
) -> None:
    reply = await refusal(shared, json.dumps({"webhook_url": address}).encode(), 422)
    assert reply["detail"][0]["loc"] == ["body", "webhook_url"]


async def test_after_all_that_the_server_still_makes_pictures(shared: Focal) -> None:
    assert (await shared.generate({}))["task_status"] == "finished"
    assert len(shared.device.seen) == 1
