"""What each exception becomes, seen through a small application."""

import errno
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from handlers.http.errors import STATUS_OF, error_middleware, note_prepared
from handlers.http.refusal import RequestRefused
from pipeline.errors import (
    DeviceOutOfMemory,
    InvalidParameter,
    ModelNotFound,
    ModelNotInstalled,
    QueueFull,
    ServerStopping,
    UnsupportedFeature,
)
from pipeline.images.read import ImageTooLarge, UnreadableImage

ROOT = Path(__file__).parents[2]

Client = TestClient[web.Request, web.Application]
Ask = Callable[[BaseException], None]


class Failing:
    """Serves one path, which raises what a test put there."""

    def __init__(self) -> None:
        self.error: BaseException = RuntimeError()

    async def fail(self, _request: web.Request) -> web.Response:
        raise self.error

    async def stream_and_fail(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        raise self.error


@pytest.fixture
def failing() -> Failing:
    return Failing()


@pytest_asyncio.fixture
async def client(failing: Failing) -> AsyncIterator[Client]:
    app = web.Application(middlewares=[error_middleware])
    app.on_response_prepare.append(note_prepared)
    app.router.add_get("/fail", failing.fail)
    app.router.add_get("/stream", failing.stream_and_fail)
    async with TestClient(TestServer(app)) as client:
        yield client


def decoding_error(kind: type, body: bytes) -> Exception:
    with pytest.raises(msgspec.DecodeError) as caught:
        msgspec.json.decode(body, type=kind)
    return caught.value


CASES = [
    (InvalidParameter(("loras", 0), "unknown"), 422, "invalid_parameter"),
    (decoding_error(dict[str, int], b'{"a": "x"}'), 422, "invalid_field"),
    (decoding_error(dict, b"{]"), 400, "invalid_json"),
    (RecursionError(), 400, "invalid_json"),
    (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), 400, "invalid_json"),
    (ModelNotFound(("preset",), "no preset of that name"), 404, "model_not_found"),
    (ModelNotInstalled("put x.safetensors into models/loras"), 503, "model_not_installed"),
    (QueueFull("100 tasks are waiting"), 429, "queue_full"),
    (ServerStopping("the server is stopping"), 503, ServerStopping.code),
    (ImageTooLarge("50000x50000"), 413, "image_too_large"),
    (UnreadableImage("no picture"), 415, "unreadable_image"),
    (DeviceOutOfMemory("make it smaller"), 500, "out_of_memory"),
    (OSError(errno.ENOSPC, "full", "/srv/focal/outputs"), 507, "disk_full"),
    (RequestRefused(406, "not_acceptable", "no"), 406, "not_acceptable"),
    (web.HTTPRequestEntityTooLarge(10, 20), 413, "body_too_large"),
]


# Codes of failures that are ours, or of what ends a task and not a request: 500 if they get so far.
NO_STATUS = {
    "pipeline_error",
    "engine_missing",
    "fetch_failed",
    "input_missing",
    "internal",
    "invalid_model_file",
    "invalid_preset",
    "out_of_memory",
    "saving_failed",
    "skipped",
    "stopped",
    "unknown_device",
    "url_refused",
    "worker_lost",
}


def test_every_code_of_our_errors_has_its_status_or_is_known_to_be_our_failure() -> None:
    folders = [ROOT / name for name in ("handlers", "pipeline", "storage")]
    sources = [path.read_text("utf-8") for folder in folders for path in folder.rglob("*.py")]
    codes = {code for text in sources for code in re.findall(r'^    code = "(\w+)"', text, re.M)}
    assert codes - set(STATUS_OF) == NO_STATUS


@pytest.mark.parametrize(("error", "status", "code"), CASES, ids=lambda value: str(value)[:40])
async def test_an_error_has_its_status_and_stable_code(
    client: Client, failing: Failing, error: Exception, status: int, code: str
) -> None:
    failing.error = error
    answer = await client.get("/fail")
    body = await answer.json()
    assert (answer.status, body["code"]) == (status, code)
    assert set(body) == {"detail", "code"}
    assert body["detail"]


async def test_a_wrong_field_is_told_with_its_place(client: Client, failing: Failing) -> None:
    failing.error = InvalidParameter(("loras", 0, "weight"), "too heavy")
    body = await (await client.get("/fail")).json()
    assert body["detail"] == [
        {"loc": ["body", "loras", 0, "weight"], "msg": "too heavy", "type": "value_error"}
    ]


async def test_a_missing_feature_is_told_by_the_name_of_its_field(
    client: Client, failing: Failing
) -> None:
    failing.error = UnsupportedFeature("uov_method", "comes later")
    answer = await client.get("/fail")
    assert answer.status == 501
    assert "uov_method" in (await answer.json())["detail"]


async def test_a_full_queue_says_when_to_come_back(client: Client, failing: Failing) -> None:
    failing.error = QueueFull("full")
    answer = await client.get("/fail")
    assert int(answer.headers["Retry-After"]) > 0


async def test_broken_json_is_told_with_the_byte(client: Client, failing: Failing) -> None:
    failing.error = decoding_error(dict, b'{"a": ?}')
    assert "(byte 6)" in (await (await client.get("/fail")).json())["detail"]


@pytest.mark.parametrize(
    "error", [OSError(errno.EACCES, "denied", "/srv/focal/secret"), ValueError("/srv/focal/x")]
)
async def test_what_nobody_foresaw_tells_no_path(
    client: Client, failing: Failing, error: Exception
) -> None:
    failing.error = error
    answer = await client.get("/fail")
    assert answer.status == 500
    assert "/srv" not in await answer.text()


async def test_an_unknown_path_and_method_are_refused_in_json(client: Client) -> None:
    missing = await client.get("/nowhere")
    assert (missing.status, (await missing.json())["code"]) == (404, "not_found")
    wrong = await client.post("/fail")
    assert (wrong.status, (await wrong.json())["code"]) == (405, "method_not_allowed")
    assert "GET" in wrong.headers["Allow"]


async def test_a_stream_that_breaks_does_not_end_like_a_whole_one(
    client: Client, failing: Failing
) -> None:
    failing.error = RuntimeError("half way")
    answer = await client.get("/stream")
    with pytest.raises(Exception, match=r"(?i)payload|transfer|closed"):
        await answer.read()
