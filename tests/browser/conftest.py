"""A real server and a real, headless Chromium."""

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from tools.server_process import ServerProcess, running_server

# Background services would look for hosts that a test machine may not reach.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


# Not of the session: while Playwright runs, its event loop counts as running, and the asyncio tests
# of other packages could not start theirs.
@pytest.fixture(scope="package")
def live_server() -> Iterator[ServerProcess]:
    with running_server(["--preset", "embedded", "--device", "cpu"]) as server:
        yield server


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser, live_server: ServerProcess) -> Iterator[Page]:
    context = browser.new_context(base_url=live_server.url, viewport={"width": 1200, "height": 800})
    opened = context.new_page()
    problems: list[str] = []

    def note_console(line: ConsoleMessage) -> None:
        # A refused request is reported there too, and some tests want one.
        if line.type == "error" and not line.text.startswith("Failed to load resource"):
            problems.append(line.text)

    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", note_console)
    yield opened
    context.close()
    assert problems == []
