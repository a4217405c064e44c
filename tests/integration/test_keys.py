"""Several named keys: who is let in, in whose name, how often, and with how many tasks."""

import hashlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from handlers.http.key_ring import KeyFileError, KeyRing, load_keys
from tests.integration.serving import GENERATE, Focal, serve

STYLES = "/v1/engines/styles"


def entry(name: str, key: str, **limits: int) -> str:
    lines = [f"[{name}]", f'sha256 = "{hashlib.sha256(key.encode()).hexdigest()}"']
    return "\n".join([*lines, *(f"{limit} = {value}" for limit, value in limits.items())]) + "\n"


@pytest_asyncio.fixture
async def focal(tmp_path: Path) -> AsyncIterator[Focal]:
    file = tmp_path / "keys.toml"
    file.write_text(
        entry("phone", "secret-phone", waiting=2)
        + entry("desk", "secret-desk", running=1)
        + entry("slow", "secret-slow", requests_per_minute=2)
    )
    async with serve(tmp_path, api_key="secret-own", api_key_file=str(file)) as running:
        yield running


async def ask(focal: Focal, path: str, key: str, method: str = "GET", body: Any = None) -> Any:
    headers = {"X-API-KEY": f"secret-{key}"}
    async with focal.session.request(method, path, json=body, headers=headers) as answer:
        return answer.status, await answer.json(), answer.headers


async def queued(focal: Focal, key: str, status: int = 200) -> Any:
    got, body, _ = await ask(focal, GENERATE, key, "POST", {"async_process": True})
    assert got == status, body
    return body


async def test_every_key_opens_and_its_name_stands_in_the_record_log_and_metrics(
    focal: Focal, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for key, name in (("phone", "phone"), ("own", "default")):
        _, record, _ = await ask(focal, GENERATE, key, "POST", {"prompt": "x"})
        assert record["key"] == name
        assert f"of key {name}" in caplog.text
    async with focal.session.get("/metrics", headers={"X-API-KEY": "secret-own"}) as answer:
        metrics = await answer.text()
    assert 'focal_key_requests_total{key="phone"} 1.0' in metrics
    assert "secret-" not in caplog.text + metrics
    async with focal.session.get(STYLES, headers={"X-API-KEY": "secret-none"}) as answer:
        assert answer.status == 403


async def test_a_session_and_a_token_are_of_their_key(focal: Focal) -> None:
    async with focal.session.post("/login", data={"key": "secret-phone"}) as answer:
        cookie = {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}
    async with focal.session.post(GENERATE, json={}, headers=cookie) as answer:
        record = await answer.json()
    assert record["key"] == "phone"
    async with focal.session.get("/v1/token", headers=cookie) as answer:
        token = (await answer.json())["token"]
    picture = record["result"][0].removeprefix(focal.url)
    async with focal.session.get(f"{picture}?token={token}") as answer:
        assert answer.status == 200
    async with focal.session.get("/metrics", headers={"X-API-KEY": "secret-own"}) as answer:
        assert 'focal_key_requests_total{key="phone"} 3.0' in await answer.text()


async def test_a_logout_ends_the_session_on_the_server(focal: Focal) -> None:
    async with focal.session.post("/login", data={"key": "secret-phone"}) as answer:
        cookie = answer.headers["Set-Cookie"].partition(";")[0]
    focal.session.cookie_jar.clear()
    headers = {"Cookie": cookie}
    async with focal.session.get(STYLES, headers=headers) as answer:
        assert answer.status == 200
    async with focal.session.post("/logout", headers=headers) as answer:
        assert answer.status == 204
    for value in (cookie, *(cookie[:-1] + letter for letter in "AQgwBRhx")):
        async with focal.session.get(STYLES, headers={"Cookie": value}) as answer:
            assert answer.status == 401


async def test_a_key_has_so_many_tasks_waiting_and_holds_up_no_other(focal: Focal) -> None:
    focal.device.gate.clear()
    await queued(focal, "phone")
    await focal.started()
    for _ in range(2):
        await queued(focal, "phone")
    refused = await queued(focal, "phone", 429)
    assert refused["code"] == "key_queue_full"
    await queued(focal, "desk")


async def test_keys_take_turns_in_the_queue(focal: Focal) -> None:
    focal.device.gate.clear()
    await queued(focal, "own")
    await focal.started()
    for key in ("own", "own", "own", "desk"):
        await queued(focal, key)
    _, reply, _ = await ask(focal, "/tasks?query=pending", "own")
    assert [task["key"] for task in reply["pending"]] == ["default", "desk", "default", "default"]


async def test_a_key_has_so_many_requests_a_minute(focal: Focal) -> None:
    for _ in range(2):
        assert (await ask(focal, STYLES, "slow"))[0] == 200
    status, body, headers = await ask(focal, STYLES, "slow")
    assert (status, body["code"]) == (429, "too_many_requests")
    assert 1 <= int(headers["Retry-After"]) <= 30
    assert (await ask(focal, STYLES, "phone"))[0] == 200


def test_requests_come_back_evenly(tmp_path: Path) -> None:
    now = [0.0]
    file = tmp_path / "keys.toml"
    file.write_text(entry("slow", "x", requests_per_minute=6))
    ring = KeyRing(load_keys("", str(file)), clock=lambda: now[0])
    assert [ring.wait_s("slow") for _ in range(7)] == [0] * 6 + [10]
    now[0] = 10.0
    assert [ring.wait_s("slow") for _ in range(2)] == [0, 10]
    now[0] = 1000.0
    assert [ring.wait_s("slow") for _ in range(7)] == [0] * 6 + [10]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no key"),
        ("[", "cannot be read"),
        ('[phone]\nkey = "secret"\n', "phone"),
        ("[phone]\n", "sha256"),
        ('[phone]\nsha256 = "short"\n', "phone"),
        ("phone = 1\n", "phone"),
        (entry('"a b"', "x"), "no name"),
        (entry("phone", "x", waiting=-1), "phone"),
        (entry("default", "x"), "--api-key"),
    ],
)
def test_a_key_file_that_cannot_be_used_is_refused_with_the_reason(
    tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(text)
    with pytest.raises(KeyFileError, match=said):
        load_keys("own", str(file))
    with pytest.raises(KeyFileError, match="cannot be read"):
        load_keys("", str(tmp_path / "none.toml"))
