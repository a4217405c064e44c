"""Pages of another site in a real browser, against a server under a plain-http name.

Such a name is not trustworthy to browsers: they send no Sec-Fetch-Site to it, and no Origin with
what a page merely loads.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.conftest import PAINTED, PRESET
from tools.server_process import ServerProcess, running_server

pytestmark = pytest.mark.browser

RULES = "--host-resolver-rules=MAP focal.test 127.0.0.1, MAP evil.test 127.0.0.1"
DELETE = "/tasks?action=delete&start_at=2000-01-01"
ATTACKS = {
    "image": '<img src="{url}">',
    "image without a referrer": '<img src="{url}" referrerpolicy="no-referrer">',
    "page without a referrer": '<meta name="referrer" content="never"><img src="{url}">',
    "frame": '<iframe src="{url}" referrerpolicy="no-referrer"></iframe>',
    "style sheet": '<link rel="stylesheet" href="{url}" referrerpolicy="no-referrer">',
    "script": '<script src="{url}" referrerpolicy="no-referrer"></script>',
    "video": '<video src="{url}" autoplay></video>',
    "form": (
        '<form action="{base}/tasks"><input name="action" value="delete">'
        '<input name="start_at" value="2000-01-01"></form>'
        "<script>document.forms[0].submit()</script>"
    ),
    "posted form": (
        '<form method="post" enctype="text/plain" action="{base}/v1/queue/pause"></form>'
        "<script>document.forms[0].submit()</script>"
    ),
    "navigation": (
        '<meta name="referrer" content="never"><script>location.href = "{url}"</script>'
    ),
    "refresh": '<meta http-equiv="refresh" content="0;url={url}">',
    "fetch": '<script>fetch("{url}", {{mode: "no-cors"}}).catch(() => 0)</script>',
    "keepalive": '<script>navigator.sendBeacon("{base}/v1/queue/pause", "x")</script>',
}


@pytest.fixture(scope="module")
def named(launch: Callable[..., Browser]) -> Iterator[Browser]:
    """A browser to which both names lead to this machine."""
    launched = launch(RULES)
    yield launched
    launched.close()


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    options = [*PRESET, "--host", "0.0.0.0", "--history", "3"]
    with running_server(options, program=PAINTED) as running:
        yield running


@contextmanager
def page_of_another_site(html: str) -> Iterator[str]:
    """Serve one page; its URL on the other name."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        yield f"http://evil.test:{site.server_address[1]}/"
        site.shutdown()


def opened(browser: Browser) -> Page:
    page = browser.new_page()
    page.set_default_timeout(10_000)
    return page


def focal_url(server: ServerProcess) -> str:
    return f"http://focal.test:{server.port}"


@pytest.mark.parametrize("attack", ATTACKS)
def test_another_sites_page_changes_nothing(
    named: Browser, server: ServerProcess, attack: str
) -> None:
    before = len(server.get("/tasks?query=history")["history"])
    assert before > 0
    base = focal_url(server)
    page = opened(named)
    with page_of_another_site(ATTACKS[attack].format(url=base + DELETE, base=base)) as site:
        with page.expect_request(lambda request: request.url.startswith(base)) as request:
            page.goto(site, wait_until="commit")
        reply = request.value.response()  # None: the browser keeps it from the page
        assert reply is None or reply.status == 403
    page.close()
    assert len(server.get("/tasks?query=history")["history"]) == before
    assert server.get("/v1/queue")["paused"] is False


def test_the_servers_own_pages_work_under_that_name(named: Browser, server: ServerProcess) -> None:
    page = opened(named)
    page.goto(f"{focal_url(server)}/static/index.html")
    calls = (("POST", "/v1/queue/pause"), ("POST", "/v1/queue/resume"), ("GET", DELETE))
    for method, path in calls:
        call = "([path, method]) => fetch(path, {method}).then((answer) => answer.status)"
        assert page.evaluate(call, [path, method]) == 200, path
    page.close()
