"""Who is let in: keys, sessions, tokens, origins, hosts and the size of bodies."""

import asyncio
import gzip
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from yarl import URL

from handlers.http.operation import operation_of
from handlers.routes import create_router
from tests.integration.serving import GENERATE, WAIT_S, Focal, serve

FRIEND = "http://friend.example:3000"
STYLES = "/v1/engines/styles"
HEADER = {"X-API-KEY": "a long secret"}
SITES = ("https://evil.example", "null", "http://127.0.0.1:1", "http://localhost.evil.example")


@pytest_asyncio.fixture
async def locked(tmp_path: Path) -> AsyncIterator[Focal]:
    async with serve(tmp_path, api_key="a long secret") as focal:
        yield focal


@pytest_asyncio.fixture
async def befriended(tmp_path: Path) -> AsyncIterator[Focal]:
    async with serve(tmp_path, allow_origin=(FRIEND,)) as focal:
        yield focal


async def status(focal: Focal, path: str, method: str = "GET", **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with focal.session.request(
        method, URL(focal.url + path, encoded=True), headers=named, allow_redirects=False
    ) as answer:
        return answer.status


PAGES = {"/", "/docs", "/static/{path}"}
PICTURES = {"/outputs/{date}/{file}", "/inputs/{file}", "/thumbnails/{date}/{file}"}
STREAMS = {"/v1/events", "/ws", "/api/ws"}
OTHERS_PICTURES = {"/view", "/api/view"}  # ComfyUI's addresses of the same pictures
MODELS_PICTURES = {"/v1/models/picture"}  # shown on our own pages alone


def routes_with(flag: str) -> set[str]:
    """The routes whose operation has this flag."""
    return {
        route.resource.canonical
        for route in create_router().routes()
        if route.resource is not None and getattr(operation_of(route.handler), flag)
    }


def test_each_exception_to_the_rules_is_one_that_is_meant() -> None:
    assert routes_with("is_open") == PAGES | {"/health", "/login"}
    assert routes_with("is_linked") == PAGES | PICTURES | OTHERS_PICTURES
    assert routes_with("takes_token") == PICTURES | OTHERS_PICTURES | MODELS_PICTURES | STREAMS
    assert routes_with("is_stream") == STREAMS


async def test_without_a_key_nothing_but_the_open_paths_is_answered(locked: Focal) -> None:
    for path in ("/health", "/", "/docs", "/static/docs.js"):
        assert await status(locked, path) in (200, 302), path
    closed = (STYLES, "/tasks", "/metrics", "/openapi.json", "/v1/token", "/v1/events", "/ws")
    for path in (*closed, "/outputs/2026-01-01/a.png", "/inputs/a.png", "/nowhere", "/health/"):
        assert await status(locked, path) == 401, path
    for path in ("/static/../tasks", "/static/%2e%2e/tasks", "/docs/../tasks", "//tasks"):
        assert await status(locked, path) in (401, 404), path


async def test_the_key_opens_in_either_header_and_a_wrong_one_does_not(locked: Focal) -> None:
    assert await status(locked, STYLES, X_API_KEY="a long secret") == 200
    assert await status(locked, STYLES, Authorization="Bearer a long secret") == 200
    assert await status(locked, STYLES, Authorization="Basic a long secret") == 401
    for wrong in ("a long secre", "", "a long secret ", "\u00fc"):
        if wrong.strip() == wrong:
            assert await status(locked, STYLES, X_API_KEY=wrong) == 403, wrong
    async with locked.session.get(STYLES, headers={"X-API-KEY": "wrong"}) as answer:
        assert await answer.json() == {"detail": "Forbidden", "code": "forbidden"}


async def test_the_key_does_not_count_in_a_url(locked: Focal) -> None:
    for name in ("token", "key", "api_key", "X-API-KEY"):
        assert await status(locked, f"{STYLES}?{name}=a+long+secret") == 401
    assert await status(locked, "/v1/events?token=a+long+secret") == 403


async def test_a_body_is_not_read_before_the_key_is_seen(locked: Focal) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", _port(locked))
    writer.write(
        b"POST /v1/engine/generate/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999\r\n\r\n"
    )
    line = await asyncio.wait_for(reader.readline(), WAIT_S)
    assert b" 401 " in line
    writer.close()
    await writer.wait_closed()


async def test_a_login_gives_a_cookie_that_opens_everything(locked: Focal) -> None:
    async with locked.session.post("/login", data={"key": "a long secret"}) as answer:
        assert answer.status == 200
        cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "a long secret" not in cookie
    session = cookie.partition(";")[0]
    assert await status(locked, STYLES, Cookie=session) == 200
    assert await status(locked, "/metrics", Cookie=session) == 200
    assert await status(locked, STYLES, Cookie=session[:-1] + "~") == 401


async def test_a_wrong_login_gives_nothing(locked: Focal) -> None:
    for form in ({"key": "wrong"}, {}, {"Key": "a long secret"}):
        async with locked.session.post("/login", data=form) as answer:
            assert answer.status == 403
            assert "Set-Cookie" not in answer.headers
    async with locked.session.post("/login", data=b"key=" + b"x" * 5000) as answer:
        assert answer.status == 413


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"]
)
async def test_a_login_sends_nobody_to_another_site(locked: Focal, target: str) -> None:
    form = {"key": "a long secret", "next": target}
    async with locked.session.post(
        "/login", data=form, headers={"Accept": "text/html"}, allow_redirects=False
    ) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "./")


async def test_a_token_opens_streams_and_pictures_and_nothing_else(locked: Focal) -> None:
    async with locked.session.get("/v1/token", headers=HEADER) as answer:
        token = (await answer.json())["token"]
    assert await status(locked, f"/outputs/2026-01-01/a.png?token={token}") == 404
    async with locked.session.get(f"/v1/events?token={token}") as answer:
        assert answer.status == 200
    async with locked.session.ws_connect(f"/ws?token={token}"):
        pass
    assert await status(locked, f"{STYLES}?token={token}") == 401
    assert await status(locked, f"/tasks?action=delete&start_at=2000-01-01&token={token}") == 401
    assert await status(locked, STYLES, Cookie=f"focal_session={token}") == 401
    assert await status(locked, f"/v1/events?token={token[:-2]}") == 403
    assert await status(locked, "/v1/events?token=99999999999.x") == 403


async def test_a_socket_without_a_key_is_refused(locked: Focal) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await locked.session.ws_connect("/ws")
    assert caught.value.status == 401


@pytest.mark.parametrize("origin", SITES)
async def test_another_sites_page_can_do_nothing(focal: Focal, origin: str) -> None:
    async with focal.session.post(
        GENERATE, data=b'{"prompt": "x"}', headers={"Origin": origin, "Content-Type": "text/plain"}
    ) as answer:
        assert (answer.status, (await answer.json())["code"]) == (403, "foreign_origin")
        assert "Access-Control-Allow-Origin" not in answer.headers
    for path in ("/tasks", "/v1/events", "/health", "/static/docs.js"):
        assert await status(focal, path, Origin=origin) == 403, path
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await focal.session.ws_connect("/ws", origin=origin)
    assert caught.value.status == 403
    await focal.nothing_is_left()


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_a_request_that_another_sites_picture_makes_is_refused(
    focal: Focal, site: str
) -> None:
    path = "/tasks?action=delete&start_at=2000-01-01"
    assert await status(focal, path, Sec_Fetch_Site=site) == 403
    link = {"Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    assert await status(focal, path, Sec_Fetch_Site=site, **link) == 403
    assert await status(focal, GENERATE, "POST", Sec_Fetch_Site=site, **link) == 403
    frame = {"Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "iframe"}
    assert await status(focal, "/static/docs.html", Sec_Fetch_Site=site, **frame) == 403


DELETE = "/tasks?action=delete&start_at=2000-01-01"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"
CHANGES = [(DELETE, "GET"), ("/v1/queue/pause", "POST"), ("/v1/engine/control?action=stop", "POST")]


@pytest.mark.parametrize(("path", "method"), CHANGES)
async def test_a_browser_that_names_no_site_changes_nothing(
    focal: Focal, path: str, method: str
) -> None:
    """On a plain-http name browsers send neither Origin nor Sec-Fetch-Site with an image."""
    assert await status(focal, path, method, User_Agent=FIREFOX) == 403
    elsewhere = {"Referer": "http://evil.example/page"}
    assert await status(focal, path, method, User_Agent=FIREFOX, **elsewhere) == 403
    assert await status(focal, path, method, User_Agent="odd", **elsewhere) == 403
    assert await status(focal, path, method, User_Agent="odd", Referer="http://[") == 403
    own = {"User_Agent": FIREFOX, "Referer": f"{focal.url}/static/index.html"}
    assert await status(focal, path, method, **own) == 200


@pytest.mark.parametrize(("path", "method"), CHANGES)
@pytest.mark.parametrize(
    "headers",
    [
        {"User_Agent": "curl/8.5.0"},
        {"User_Agent": "python-requests/2.32.3"},
        {"User_Agent": "python-httpx/0.28.1"},
        {"User_Agent": ""},
        {"User_Agent": FIREFOX, "X_Requested_With": "a script"},
        {"User_Agent": FIREFOX, "Content_Type": "application/json"},
        {"User_Agent": FIREFOX, "X_API_KEY": "any"},
    ],
)
async def test_scripts_need_no_key_to_change_something(
    focal: Focal, path: str, method: str, headers: dict[str, str]
) -> None:
    assert await status(focal, path, method, **headers) == 200


async def test_a_browser_that_names_no_site_may_read(focal: Focal) -> None:
    for path in ("/tasks", STYLES, "/health"):
        assert await status(focal, path, User_Agent=FIREFOX) == 200, path


async def test_a_link_to_a_page_may_be_followed_from_anywhere(focal: Focal) -> None:
    link = {
        "Sec_Fetch_Site": "cross-site",
        "Sec_Fetch_Mode": "navigate",
        "Sec_Fetch_Dest": "document",
        "Referer": "https://elsewhere.example/list",
    }
    assert await status(focal, "/", **link) == 302
    assert await status(focal, "/docs", **link) == 200
    assert await status(focal, "/static/docs.html", **link) == 200


async def test_the_page_itself_may_do_everything(focal: Focal) -> None:
    own = {"Origin": focal.url, "Sec_Fetch_Site": "same-origin"}
    assert await status(focal, STYLES, **own) == 200
    assert await status(focal, "/v1/engine/control?action=stop", "POST", **own) == 200
    async with focal.session.ws_connect("/ws", origin=focal.url):
        pass


async def test_a_listed_origin_is_served_with_cors(befriended: Focal) -> None:
    async with befriended.session.get(STYLES, headers={"Origin": FRIEND}) as answer:
        assert answer.status == 200
        assert answer.headers["Access-Control-Allow-Origin"] == FRIEND
        assert "Origin" in ", ".join(answer.headers.getall("Vary"))
    ask = {"Origin": FRIEND, "Access-Control-Request-Method": "POST"}
    async with befriended.session.options(GENERATE, headers=ask) as answer:
        assert answer.status == 204
        assert "POST" in answer.headers["Access-Control-Allow-Methods"]
        assert "X-API-KEY" in answer.headers["Access-Control-Allow-Headers"]
    for origin in (*SITES, "https://friend.example:3000", "http://friend.example"):
        ask = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        async with befriended.session.options(GENERATE, headers=ask) as answer:
            assert answer.status == 403
            assert "Access-Control-Allow-Origin" not in answer.headers
    page = {"Sec_Fetch_Site": "cross-site", "Referer": f"{FRIEND}/gallery"}
    assert await status(befriended, STYLES, **page) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:7866",
        "127.0.0.1.evil.example",
        "0.0.0.0",
        "[::2]",
        "",
        "[::1].evil",
        "[::1]evil:80",
    ],
)
async def test_a_rebound_name_is_refused_while_bound_to_loopback(focal: Focal, host: str) -> None:
    assert await status(focal, "/health", Host=host) == 403
    assert await status(focal, STYLES, Host=host, Origin=f"http://{host}") == 403


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:7866", "[::1]:7866"])
async def test_loopbacks_own_names_are_accepted(focal: Focal, host: str) -> None:
    assert await status(focal, "/health", Host=host) == 200


async def test_the_host_of_a_listed_origin_and_of_the_base_url_are_accepted(
    tmp_path: Path,
) -> None:
    base_url = "https://focal.example/pictures"
    async with serve(tmp_path, allow_origin=(FRIEND,), base_url=base_url) as focal:
        assert await status(focal, "/health", Host="friend.example") == 200
        assert await status(focal, "/health", Host="focal.example") == 200
        assert await status(focal, STYLES, Origin="https://focal.example") == 200
        assert await status(focal, "/health", Host="other.example") == 403


async def test_every_reply_keeps_browsers_from_guessing(focal: Focal) -> None:
    for path in ("/health", "/nowhere", "/docs", "/static/docs.js"):
        async with focal.session.get(path) as answer:
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Referrer-Policy"] == "same-origin"
            assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
            assert "unsafe-inline" not in answer.headers["Content-Security-Policy"]


async def test_a_body_beyond_the_limit_is_refused_unread(tmp_path: Path) -> None:
    async with serve(tmp_path, body_limit_mb=1) as focal:
        big = json.dumps({"prompt": "x" * 2**21}).encode()

        async def chunks() -> AsyncIterator[bytes]:
            for start in range(0, len(big), 65536):
                yield big[start : start + 65536]

        zipped = {"Content-Encoding": "gzip"}
        for data, headers in ((io.BytesIO(big), {}), (chunks(), {}), (gzip.compress(big), zipped)):
            async with focal.session.post(GENERATE, data=data, headers=headers) as answer:
                assert answer.status == 413
                body = await answer.json()
                assert body["code"] == "body_too_large"
                assert "1 MiB" in body["detail"]
        await focal.nothing_is_left()


async def test_a_body_of_exactly_the_limit_is_read_however_it_is_sent(tmp_path: Path) -> None:
    async def in_pieces(body: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(body), 65536):
            yield body[start : start + 65536]

    async with serve(tmp_path, body_limit_mb=1) as focal:
        for excess, expected in ((0, 200), (1, 413)):
            body = b'{"async_process": true}'.ljust(2**20 + excess)
            for data in (io.BytesIO(body), in_pieces(body)):
                async with focal.session.post(GENERATE, data=data) as answer:
                    assert answer.status == expected, (excess, await answer.text())


async def test_a_damaged_compressed_body_is_refused(focal: Focal) -> None:
    headers = {"Content-Encoding": "gzip"}
    async with focal.session.post(GENERATE, data=b"no gzip at all", headers=headers) as answer:
        assert answer.status == 400
    await focal.nothing_is_left()


@pytest.mark.parametrize("path", ["/v1/events", "/ws", "/tasks?action=delete&start_at=2000-01-01"])
async def test_what_streams_or_deletes_does_not_answer_to_head(focal: Focal, path: str) -> None:
    assert await status(focal, path, "HEAD") == 405


def _port(focal: Focal) -> int:
    return int(focal.url.rpartition(":")[2])
