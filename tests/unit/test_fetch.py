"""The guarded client: where it goes, and how much and how long it takes."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.test_utils import TestServer

from storage.addresses import is_public
from storage.fetch import FetchFailed, GuardedClient, UrlRefused, _retry_after_s

LIMIT = 1000
RECEIVED = web.AppKey("received", list[tuple[bytes, dict[str, str]]])


class FixedResolver(AbstractResolver):
    """Answers with one address after the other, as a name server that changes its mind."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = list(addresses)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        address = self._addresses.pop(0)
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0
            )
        ]

    async def close(self) -> None:
        pass


async def picture(request: web.Request) -> web.Response:
    return web.Response(body=b"picture")


async def large(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()  # no Content-Length
    await response.prepare(request)
    for _ in range(20):
        await response.write(b"x" * 100)
    return response


async def packed(request: web.Request) -> web.Response:
    body = gzip.compress(b"x" * 1_000_000)
    return web.Response(body=body[:900], headers={"Content-Encoding": "gzip"})


async def trickle(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"x")
        await asyncio.sleep(0.01)


async def redirect(request: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": request.query["to"]})


async def receive(request: web.Request) -> web.Response:
    request.app[RECEIVED].append((await request.read(), dict(request.headers)))
    return web.Response(status=204)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[TestServer]:
    app = web.Application()
    app[RECEIVED] = []
    for name, handler in {
        "picture": picture,
        "large": large,
        "packed": packed,
        "trickle": trickle,
        "redirect": redirect,
    }.items():
        app.router.add_get(f"/{name}", handler)
    app.router.add_post("/receive", receive)
    app.router.add_post("/redirect", redirect)
    server = TestServer(app)
    async with server:
        yield server


@pytest_asyncio.fixture
async def client() -> AsyncIterator[GuardedClient]:
    async with GuardedClient(allow_private=True, seconds=5) as client:
        yield client


def url(server: TestServer, path: str) -> str:
    return str(server.make_url(path))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:c0a8:101::1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::a00:1",
        "2001:0:4136:e378:8000:63bf:80ff:fffe",
        "2a00:1450::5efe:7f00:1",
    ],
)
def test_an_address_that_is_not_public_is_told_however_it_is_wrapped(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "64:ff9b::101:101"]
)
def test_public_addresses_are_open(address: str) -> None:
    assert is_public(address)


async def test_a_body_is_fetched_over_redirects(server: TestServer, client: GuardedClient) -> None:
    assert await client.fetch_bytes(url(server, "/redirect?to=/picture"), LIMIT) == b"picture"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"])
async def test_local_addresses_are_refused_before_a_connection_is_made(host: str) -> None:
    connected = asyncio.Event()
    listener = await asyncio.start_server(lambda reader, writer: connected.set(), "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with listener, GuardedClient(seconds=5) as guarded:
        with pytest.raises(UrlRefused, match="private, local or reserved"):
            await guarded.fetch_bytes(f"http://{host}:{port}/", LIMIT)
        with pytest.raises(UrlRefused):
            await guarded.post_json(f"http://{host}:{port}/", b"{}", {})
    assert not connected.is_set()


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "127.1", "0177.0.0.1"])
async def test_old_spellings_of_a_local_address_do_not_get_around(host: str) -> None:
    async with GuardedClient(seconds=5) as guarded:
        with pytest.raises((UrlRefused, FetchFailed)):
            await guarded.fetch_bytes(f"http://{host}:1/", LIMIT)


async def test_a_name_that_leads_inside_is_refused() -> None:
    async with GuardedClient(seconds=5, resolver=FixedResolver("10.0.0.1")) as guarded:
        with pytest.raises(UrlRefused):
            await guarded.fetch_bytes("http://public.example/", LIMIT)


async def test_every_hop_of_a_redirect_is_checked(
    server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first hop is let through as if it were public; the second is a literal inside.
    monkeypatch.setattr("storage.fetch.is_public", lambda address: address == "127.0.0.1")
    async with GuardedClient(seconds=5) as guarded:
        with pytest.raises(UrlRefused):
            await guarded.fetch_bytes(url(server, "/redirect?to=http://10.0.0.1/"), LIMIT)
        with pytest.raises(UrlRefused, match="http://"):
            await guarded.fetch_bytes(url(server, "/redirect?to=file:///etc/passwd"), LIMIT)


async def test_a_name_is_checked_again_for_every_connection(
    server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.fetch.is_public", lambda address: address == "127.0.0.1")
    resolver = FixedResolver("127.0.0.1", "10.0.0.1")
    async with GuardedClient(seconds=5, resolver=resolver) as guarded:
        target = f"http://changing.example:{server.port}/picture"
        assert await guarded.fetch_bytes(target, LIMIT) == b"picture"
        with pytest.raises(UrlRefused):
            await guarded.fetch_bytes(target, LIMIT)


@pytest.mark.parametrize(
    "bad", ["", "ftp://a/b", "file:///etc/passwd", "//host/x", "http://", "picture.png", "http://["]
)
async def test_only_complete_web_urls_are_used(client: GuardedClient, bad: str) -> None:
    with pytest.raises(UrlRefused, match="http"):
        await client.fetch_bytes(bad, LIMIT)


async def test_a_body_over_the_limit_is_refused(server: TestServer, client: GuardedClient) -> None:
    with pytest.raises(FetchFailed, match="larger than 1000 bytes"):
        await client.fetch_bytes(url(server, "/large"), LIMIT)
    with pytest.raises(FetchFailed, match="larger than 3 bytes"):
        await client.fetch_bytes(url(server, "/picture"), 3)


async def test_a_packed_body_is_not_unpacked(server: TestServer, client: GuardedClient) -> None:
    assert len(await client.fetch_bytes(url(server, "/packed"), LIMIT)) <= LIMIT


async def test_a_trickle_ends_by_the_clock(server: TestServer) -> None:
    async with GuardedClient(allow_private=True, seconds=0.2) as hasty:
        with pytest.raises(FetchFailed, match="too long"):
            await hasty.fetch_bytes(url(server, "/trickle"), 10**6)


async def test_endless_redirects_end(server: TestServer, client: GuardedClient) -> None:
    app_url = url(server, "/redirect?to=")
    with pytest.raises(FetchFailed, match="redirects more than"):
        await client.fetch_bytes(f"{app_url}?to=", LIMIT)


async def test_failures_hide_passwords_and_tokens(client: GuardedClient) -> None:
    with pytest.raises(FetchFailed) as caught:
        await client.fetch_bytes("http://me:secret@127.0.0.1:1/x?token=secret", LIMIT)
    assert "secret" not in str(caught.value)


async def test_a_post_sends_the_body_and_follows_no_redirect(
    server: TestServer, client: GuardedClient
) -> None:
    posted = await client.post_json(url(server, "/receive"), b"{}", {"x-mark": "1"})
    assert (posted.status, posted.retry_after_s) == (204, 0.0)
    assert (await client.post_json(url(server, "/redirect?to=/receive"), b"{}", {})).status == 302
    ((body, headers),) = server.app[RECEIVED]
    assert body == b"{}"
    assert (headers["Content-Type"], headers["x-mark"]) == ("application/json", "1")


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("120", 120, 120),
        ("0", 0, 0),
        ("", 0, 0),
        ("soon", 0, 0),
        ("-5", 0, 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
        ("Wed, 21 Oct 2999 07:28:00 GMT", 1e9, 1e12),
        ("9" * 400, 1e11, 1e12),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, least: float, most: float) -> None:
    assert least <= _retry_after_s(value) <= most


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1/",
        "http://[::1]:80/",
        "http://10.0.0.1/",
        "http://localhost./",
        "http://a.localhost/",
    ],
)
async def test_a_private_address_is_told_before_it_is_called(address: str) -> None:
    async with GuardedClient() as guarded, GuardedClient(allow_private=True) as free:
        with pytest.raises(UrlRefused, match="private"):
            guarded.check(address)
        free.check(address)


@pytest.mark.parametrize(
    "malformed",
    [
        "ftp://example.org/",
        "http://",
        "example.org",
        "http://example.org:99999/",
        "http://example.org:0/",
        "http://exam ple.org/",
        "http://example.org/a\nb",
        "http://example.org/\x00",
        "http://[::1/",
    ],
)
async def test_a_malformed_url_is_told_before_it_is_called(malformed: str) -> None:
    async with GuardedClient(allow_private=True) as free:
        with pytest.raises(UrlRefused):
            free.check(malformed)
        free.check("https://example.org:8443/a%20b?c=d")
