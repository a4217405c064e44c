"""Takes the pictures of ``docs/screenshots/``: ``python -m tools.screenshots``. Needs Chromium."""

import argparse
import io
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tools.server_process import ROOT, ServerProcess, running_server

FOLDER: Final = ROOT / "docs" / "screenshots"
FLAGS: Final = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
TIMEOUT_MS: Final = 120_000
DESKTOP: Final = {"width": 1280, "height": 800}
PHONE: Final = {"width": 390, "height": 780}
LOOKS: Final[Mapping[str, Mapping[str, Any]]] = {
    "light": {"viewport": DESKTOP, "color_scheme": "light", "locale": "en-GB"},
    "dark": {"viewport": DESKTOP, "color_scheme": "dark", "locale": "en-GB"},
    "phone": {"viewport": PHONE, "color_scheme": "light", "locale": "en-GB", "has_touch": True},
    "chinese": {"viewport": DESKTOP, "color_scheme": "light", "locale": "zh-CN"},
}
PROMPTS: Final = (
    "a red star on a blue background",
    "a yellow heart on a purple background",
    "a sunset over the sea",
    "a snowy mountain under a starry night sky",
    "a blue house on an orange background",
    "a green circle on a white background",
    "a purple triangle on a yellow background",
    "a white moon on a black background",
    "an orange square on a green background",
    "a pink heart on a blue background",
)
HALF_WAY: Final = re.compile(r" (2[5-9]|[345][0-9])/60")  # of the steps, in any language
LONG: Final = "a rainbow over green hills"  # what runs while the pictures are taken


def shoot(page: Page, name: str, *, idle: bool = True) -> None:
    """Save what is seen, in 256 colours: enough for flat pages, and a third of the bytes."""
    if idle:
        page.wait_for_load_state("networkidle")
    seen = Image.open(io.BytesIO(page.screenshot(animations="disabled")))
    seen.convert("RGB").quantize(256).save(FOLDER / f"{name}.png", optimize=True)


def fill(server: ServerProcess) -> None:
    """A history to show: pictures, a favourite, a task of four, one that was stopped."""
    for seed, prompt in enumerate(PROMPTS):
        number = 4 if seed == 1 else 1
        body = {"prompt": prompt, "image_seed": seed + 1, "image_number": number}
        record = server.post("/v1/engine/generate/", body)
        if seed % 4 == 2:
            server.post(f"/tasks/{record['task_id']}/favourite", {})
    server.post("/v1/queue/pause", {})
    stopped = queue(server, "a boat that nobody waited for")
    server.post(f"/v1/engine/control?action=stop&task_id={stopped}", {})
    server.post("/v1/queue/resume", {})


def queue(server: ServerProcess, prompt: str, **parameters: object) -> str:
    """Queue a task; its id."""
    body = {"prompt": prompt, "async_process": True, **parameters}
    return str(server.post("/v1/engine/generate/", body)["task_id"])


@contextmanager
def busy(server: ServerProcess) -> Iterator[None]:
    """Something runs and something waits for the length of the block."""
    tasks = [queue(server, LONG, image_number=32, performance_selection="Quality")]
    tasks += [queue(server, prompt, image_number=2) for prompt in PROMPTS[:3]]
    try:
        yield
    finally:
        for task in reversed(tasks):
            server.post(f"/v1/engine/control?action=stop&task_id={task}", {})
        while server.get("/v1/queue")["running"]:
            time.sleep(0.05)
        for task in tasks:
            server.post(f"/tasks/{task}/delete", {})


def go(page: Page, name: str) -> None:
    """Open a page of the shell."""
    page.goto(f"/static/index.html#{name}")
    expect(page.locator(".on")).to_be_visible(timeout=TIMEOUT_MS)
    page.wait_for_load_state("networkidle")


def take_pages(page: Page, server: ServerProcess, look: str) -> None:
    """Every page in one look."""
    page.set_default_timeout(TIMEOUT_MS)
    go(page, "create")
    page.locator("form textarea").first.fill(PROMPTS[3])
    shoot(page, f"create-{look}")
    with busy(server):
        go(page, "create")
        expect(page.locator(".canvas > img")).to_be_visible(timeout=TIMEOUT_MS)
        expect(page.locator(".stage .message")).to_have_text(HALF_WAY, timeout=TIMEOUT_MS)
        if look == "phone":
            page.locator(".stage").scroll_into_view_if_needed()
        shoot(page, f"create-running-{look}")
        go(page, "queue")
        expect(page.locator(".tasks img").first).to_be_visible(timeout=TIMEOUT_MS)
        shoot(page, f"queue-{look}")
    go(page, "gallery")
    expect(page.locator(".cell .open img").first).to_be_visible()
    shoot(page, f"gallery-{look}")
    page.locator(".cell .open").filter(has_text=PROMPTS[1]).click()
    expect(page.locator("dialog .parameters")).to_be_visible()
    shoot(page, f"picture-{look}")
    go(page, "models")
    expect(page.locator(".model-card").first).to_be_visible()
    shoot(page, f"models-{look}")
    go(page, "system")
    expect(page.locator(".card").first).to_be_visible()
    seen = server.post("/v1/engine/generate/", {"prompt": PROMPTS[0], "disable_preview": True})
    server.post(f"/tasks/{seen['task_id']}/delete", {})
    shoot(page, f"system-{look}")
    take_inpainting(page, server, look)
    page.goto("/docs")
    page.locator("details").first.locator("summary").click()
    shoot(page, f"docs-{look}")


def take_inpainting(page: Page, server: ServerProcess, look: str) -> None:
    """A picture of the history with a mask being painted."""
    card = server.get("/v1/history?search=house&limit=1")["items"][0]
    data = page.request.get(card["images"][0]).body()
    go(page, "create")
    page.locator('details[data-group="input"] > summary').click()
    page.locator('input[name="input-kind"][value="inpaint"]').check(force=True)
    slot = page.locator("image-slot:visible input")
    slot.set_input_files({"name": "house.png", "mimeType": "image/png", "buffer": data})
    canvas = page.locator(".painter canvas")
    canvas.focus()
    for _ in range(4):
        page.keyboard.press("Shift+ArrowRight")
    page.locator(".edge.right").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.locator(".painter").scroll_into_view_if_needed()
    shoot(page, f"inpaint-{look}")


def take_example(page: Page) -> None:
    """The example page in mid-picture and with four finished ones."""
    page.goto("/static/example.html")
    page.get_by_label("Prompt", exact=True).fill(PROMPTS[0])
    page.get_by_label("Images").fill("4")
    page.get_by_label("Seed").fill("1")
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_role("img", name="Live preview")).to_be_visible(timeout=TIMEOUT_MS)
    shoot(page, "example-running", idle=False)
    expect(page.get_by_role("status")).to_have_text("Finished", timeout=TIMEOUT_MS)
    shoot(page, "example")


def take_all(browser: Browser, server: ServerProcess) -> None:
    """The example page, then every page in every look."""
    page = browser.new_page(base_url=server.url, viewport=DESKTOP)  # type: ignore[arg-type]
    take_example(page)
    fill(server)
    for look, options in LOOKS.items():
        context = browser.new_context(base_url=server.url, **options)
        take_pages(context.new_page(), server, look)
        context.close()
        print(look)


def main() -> None:
    """Start a server on the embedded model and photograph its pages."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("no Chromium is installed (Debian: apt-get install chromium)")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with running_server(["--preset", "embedded"]) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        take_all(browser, server)
        browser.close()


if __name__ == "__main__":
    main()
