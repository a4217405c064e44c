"""Real servers and a real, headless Chromium."""

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect, sync_playwright

from tests.requirement import missing
from tools.server_process import ROOT, ServerProcess, running_server

PAINTED = ROOT / "tests" / "browser" / "painted_server.py"
PRESET = ("--preset", "embedded")
WAIT_MS = 20_000  # for an action and for what is expected; a busy machine takes its time

expect.set_options(timeout=WAIT_MS)

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
    with running_server([*PRESET, "--device", "cpu"]) as server:
        yield server


@pytest.fixture(scope="package")
def painted() -> Iterator[ServerProcess]:
    """A server whose device paints at once, with a few hundred ended tasks."""
    with running_server([*PRESET, "--history", "300"], program=PAINTED) as server:
        yield server


@pytest.fixture(scope="package")
def launch() -> Iterator[Callable[..., Browser]]:
    """Starts a Chromium with more flags than ``FLAGS``. One Playwright: a process has no second."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        missing("no Chromium is installed (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:

        def start(*flags: str) -> Browser:
            arguments = [*FLAGS, *flags]
            return playwright.chromium.launch(executable_path=chromium, args=arguments)

        yield start


@pytest.fixture(scope="package")
def browser(launch: Callable[..., Browser]) -> Iterator[Browser]:
    launched = launch()
    yield launched
    launched.close()


@contextmanager
def opened_page(browser: Browser, url: str, **options: Any) -> Iterator[Page]:
    """A page of a person of its own; an error of its scripts fails the test."""
    size = options.pop("viewport", {"width": 1200, "height": 800})
    context = browser.new_context(base_url=url, viewport=size, locale="en-GB", **options)
    context.set_default_timeout(WAIT_MS)
    opened = context.new_page()
    problems: list[str] = []

    def note_console(line: ConsoleMessage) -> None:
        # A refused request or a lost connection is reported there too, and some tests want one.
        expected = ("Failed to load resource", "WebSocket connection to")
        if line.type == "error" and not line.text.startswith(expected):
            problems.append(line.text)

    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", note_console)
    yield opened
    context.close()
    assert problems == []


@pytest.fixture
def page(browser: Browser, live_server: ServerProcess) -> Iterator[Page]:
    with opened_page(browser, live_server.url) as opened:
        yield opened


@pytest.fixture
def app(browser: Browser, painted: ServerProcess) -> Iterator[Page]:
    """The pages on the server whose device paints at once; nothing waits, nothing is paused."""
    with opened_page(browser, painted.url) as opened:
        yield opened
    painted.post("/v1/queue/resume", {})
    for task in painted.get("/v1/queue")["pending"]:
        painted.post(f"/v1/engine/control?action=stop&task_id={task['task_id']}", {})
    painted.post("/v1/engine/control?action=stop", {})


@pytest.fixture
def queue(painted: ServerProcess) -> Callable[..., str]:
    """Queues a task as another client would; returns its id."""

    def add(prompt: str, **parameters: Any) -> str:
        body = {"prompt": prompt, "async_process": True, **parameters}
        task_id: str = painted.post("/v1/engine/generate/", body)["task_id"]
        return task_id

    return add


def text_of(name: str, language: str) -> str:
    """A text of the pages, as people read it."""
    texts: dict[str, str] = json.loads((ROOT / "static" / "i18n" / f"{language}.json").read_text())
    return texts[name]


def picture_file(folder: Path, name: str = "picture.png", prompt: str = "") -> Path:
    """A PNG on disk, with a prompt in it."""
    from PIL import Image, PngImagePlugin  # noqa: PLC0415 - only few tests want one

    words = PngImagePlugin.PngInfo()
    words.add_text("parameters", json.dumps({"prompt": prompt, "seed": "9223372036854775807"}))
    words.add_text("fooocus_scheme", "fooocus")
    path = folder / name
    Image.new("RGB", (200, 120), "teal").save(path, pnginfo=words)
    return path


def give_file(target: Locator, event: str, path: Path) -> None:
    """Drop or paste a file, as the system would hand it over."""
    target.evaluate(
        """(element, [event, name, content]) => {
          const data = new DataTransfer();
          const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
          data.items.add(new File([bytes], name, {type: "image/png"}));
          const options = {bubbles: true, cancelable: true};
          element.dispatchEvent(event === "paste"
            ? new ClipboardEvent("paste", {...options, clipboardData: data})
            : new DragEvent("drop", {...options, dataTransfer: data}));
        }""",
        [event, path.name, base64.b64encode(path.read_bytes()).decode()],
    )
