"""What is no proper HTTP request: answered as JSON, and logged in one line."""

import asyncio
import json
import logging
from typing import Any

import pytest

from tests.integration.serving import WAIT_S, Focal

HOST = b"Host: localhost\r\n"
GET = b"GET /health HTTP/1.1\r\n" + HOST
POST = b"POST /v1/engine/generate/ HTTP/1.1\r\n" + HOST

MALFORMED = {
    "unknown method": b"FOO /health HTTP/1.1\r\n" + HOST + b"\r\n",
    "no host": b"GET /health HTTP/1.1\r\n\r\n",
    "two hosts": GET + HOST + b"\r\n",
    "long line": b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "long header": GET + b"A: " + b"a" * 9000 + b"\r\n\r\n",
    "many headers": GET + b"A: b\r\n" * 300 + b"\r\n",
    "no header": GET + b"A b\r\n\r\n",
    "another version": b"GET /health HTTP/9.9\r\n" + HOST + b"\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "wrong URL": b"GET http://[ HTTP/1.1\r\n" + HOST + b"\r\n",
    "wrong length": POST + b"Content-Length: -2\r\n\r\n",
    "two lengths": POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "wrong chunk": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    "wrong transfer encoding": POST + b"Transfer-Encoding: foo\r\n\r\n{}",
    "no library": POST + b"Content-Encoding: br\r\nContent-Length: 2\r\n\r\n{}",
}
REFUSED = {
    "expectation": (GET + b"Expect: foo\r\n\r\n", 417, "expectation_failed"),
    "expectation of nothing": (
        b"GET /nowhere HTTP/1.1\r\n" + HOST + b"Expect: foo\r\n\r\n",
        417,
        "expectation_failed",
    ),
    "unknown encoding": (
        POST + b"Content-Encoding: foo\r\nContent-Length: 2\r\n\r\n{}",
        400,
        "bad_request",
    ),
    "method": (b"DELETE /health HTTP/1.1\r\n" + HOST + b"\r\n", 405, "method_not_allowed"),
    "no websocket": (b"GET /ws HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_request"),
    "options of all": (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", 404, "not_found"),
    "long name": (
        b"GET /static/" + b"a" * 300 + b".js HTTP/1.1\r\n" + HOST + b"\r\n",
        404,
        "not_found",
    ),
    "long picture": (
        b"GET /outputs/2026-01-01/" + b"a" * 300 + b".png HTTP/1.1\r\n" + HOST + b"\r\n",
        404,
        "not_found",
    ),
}


async def raw(focal: Focal, request: bytes) -> tuple[int, dict[str, str], Any]:
    """Status, headers and JSON of the reply to these bytes."""
    host, _, port = focal.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(WAIT_S):
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:])}
            body = await reader.readexactly(int(headers["content-length"]))
    finally:
        writer.close()
    return int(head[0].split()[1]), headers, json.loads(body)


@pytest.mark.parametrize("name", MALFORMED)
async def test_what_cannot_be_read_is_answered_as_json_and_logged_in_one_line(
    focal: Focal, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    caplog.clear()
    status, headers, body = await raw(focal, MALFORMED[name])
    assert (status, headers["content-type"]) == (400, "application/json")
    assert body["code"] == "bad_request"
    assert body["detail"].isprintable()
    assert len(body["detail"]) <= 200
    (record,) = [line for line in caplog.records if line.name != "asyncio"]
    assert record.exc_info is None
    assert "\n" not in record.getMessage()


@pytest.mark.parametrize("name", REFUSED)
async def test_every_refusal_is_json_with_a_code(focal: Focal, name: str) -> None:
    request, expected, code = REFUSED[name]
    status, headers, body = await raw(focal, request)
    assert (status, headers["content-type"]) == (expected, "application/json")
    assert sorted(body) == ["code", "detail"]
    assert body["code"] == code
    await focal.nothing_is_left()


@pytest.mark.parametrize("path", [b"/v1/engine/generate/", b"/nowhere"])
@pytest.mark.parametrize("encoding", [b"gzip", b"deflate"])
async def test_a_damaged_body_writes_no_traceback(
    focal: Focal, path: bytes, encoding: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    head = b"POST " + path + b" HTTP/1.1\r\n" + HOST + b"Content-Encoding: " + encoding
    host, _, port = focal.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    async with asyncio.timeout(WAIT_S):
        writer.write(head + b"\r\nContent-Length: 4\r\n\r\nabcd")
        answer = await reader.read()  # to the end: the server closes the connection
    writer.close()
    assert answer.split()[1] in (b"400", b"404")
    assert [line for line in caplog.records if line.exc_info or line.levelno > logging.INFO] == []


async def test_a_failed_handshake_says_what_is_wrong_with_it(focal: Focal) -> None:
    upgrade = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 99\r\n\r\n"
    _, _, body = await raw(focal, b"GET /ws HTTP/1.1\r\n" + HOST + upgrade)
    assert (body["code"], "99" in body["detail"]) == ("bad_request", True)
