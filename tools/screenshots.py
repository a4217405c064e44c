"""Takes the pictures of ``docs/screenshots/``: ``python -m tools.screenshots``. Needs Chromium."""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Final

from playwright.sync_api import Page, expect, sync_playwright

from tools.server_process import ROOT, running_server

FOLDER: Final = ROOT / "docs" / "screenshots"
PROMPT: Final = "a red star on a blue background"
FLAGS: Final = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
TIMEOUT_MS: Final = 120_000


def take_example(page: Page, prompt: str, seed: str, folder: Path) -> None:
    """The example page in mid-picture and with four finished ones."""
    page.goto("/static/example.html")
    page.get_by_label("Prompt", exact=True).fill(prompt)
    page.get_by_label("Images").fill("4")
    page.get_by_label("Seed").fill(seed)
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_role("img", name="Live preview")).to_be_visible(timeout=TIMEOUT_MS)
    page.screenshot(path=folder / "example-running.png")
    expect(page.get_by_role("status")).to_have_text("Finished", timeout=TIMEOUT_MS)
    page.wait_for_load_state("networkidle")
    page.screenshot(path=folder / "example.png")


def main() -> None:
    """Start a server on the embedded model and photograph its page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompt", default=PROMPT)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("no Chromium is installed (Debian: apt-get install chromium)")
    options.folder.mkdir(parents=True, exist_ok=True)
    with running_server(["--preset", "embedded"]) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        viewport = {"width": 1200, "height": 860}
        page = browser.new_page(base_url=server.url, viewport=viewport)  # type: ignore[arg-type]
        take_example(page, options.prompt, options.seed, options.folder)
        browser.close()


if __name__ == "__main__":
    main()
