"""How fast does a gallery of many pictures open, and does it stay small while it is scrolled?

``python -m bench.gallery [--tasks 10000]`` fills a history on the device that only paints, opens
the gallery in headless Chromium, each time as a visitor with an empty cache, and scrolls it down.
"""

import argparse
import json
import shutil
import statistics
import sys
import time
from typing import Any, Final

from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from tools.server_process import ROOT, ServerProcess, running_server

PAINTED: Final = ROOT / "tests" / "browser" / "painted_server.py"
FLAGS: Final = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
SIZE: Final[Any] = {"width": 1280, "height": 800}
OPENINGS: Final = 5
SCREENS: Final = 60  # stops on the way down
GOAL_MS: Final = 300

# From the click to the frame in which no cell in view is blank, and to that in which each has its
# pictures.
OPEN_GALLERY: Final = """async () => {
  const started = performance.now();
  let drawn = 0;
  document.querySelector('#pages a[data-page="gallery"]').click();
  for (;;) {
    await new Promise(requestAnimationFrame);
    const images = [...document.querySelectorAll(".cell .open img")];
    if (!images.length || document.querySelector(".cell.blank")) continue;
    drawn ||= performance.now() - started;
    const seen = images.filter((image) => image.getBoundingClientRect().top < innerHeight);
    if (seen.every((image) => image.complete && image.naturalWidth)) {
      return [drawn, performance.now() - started];
    }
  }
}"""
SCROLL: Final = """async (part) => {
  const grid = document.querySelector(".grid-scroll");
  grid.scrollTop = (grid.scrollHeight - grid.clientHeight) * part;
  const started = performance.now();
  for (;;) {
    await new Promise(requestAnimationFrame);
    if (!document.querySelector(".cell.blank")) return performance.now() - started;
  }
}"""


def metrics(session: CDPSession) -> dict[str, float]:
    """What Chromium counts: nodes, script heap and the like, after its garbage is gone."""
    session.send("HeapProfiler.collectGarbage")
    found = session.send("Performance.getMetrics")["metrics"]
    return {item["name"]: item["value"] for item in found}


def open_once(browser: Browser, server: ServerProcess) -> tuple[float, float, Page]:
    """Milliseconds from the click on "Gallery" to its first cards and to their pictures."""
    page = browser.new_context(viewport=SIZE).new_page()
    page.goto(f"{server.url}/static/index.html#queue")
    page.wait_for_load_state("networkidle")
    drawn, whole = page.evaluate(OPEN_GALLERY)
    return float(drawn), float(whole), page


def main() -> None:
    """Print the figures as a JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000)
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("no Chromium is installed (Debian: apt-get install chromium)")
    arguments = ["--preset", "embedded", "--history", str(options.tasks)]
    with (
        running_server(arguments, program=PAINTED) as server,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        first_drawn, first_whole, _ = open_once(browser, server)  # makes the thumbnails, too
        openings = [open_once(browser, server) for _ in range(OPENINGS)]
        page = openings[-1][2]
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable")
        before = metrics(session)
        stops, cells, nodes = [], 0, 0
        for screen in range(SCREENS + 1):
            stops.append(float(page.evaluate(SCROLL, screen / SCREENS)))
            cells = max(cells, page.locator(".cell").count())
            nodes = max(nodes, int(page.evaluate("document.querySelectorAll('*').length")))
        after = metrics(session)
        started = time.perf_counter()
        server.get("/v1/history?search=golden+boat&limit=60")
        searched = time.perf_counter() - started
        browser.close()
    figures = {
        "tasks": options.tasks,
        "first page for the very first visitor: cards, ms": round(first_drawn),
        "with their pictures, whose thumbnails are made now, ms": round(first_whole),
        "first page for later visitors: cards, median ms": round(
            statistics.median(opening[0] for opening in openings)
        ),
        "with their pictures, median ms": round(
            statistics.median(opening[1] for opening in openings)
        ),
        "goal, ms": GOAL_MS,
        "a stop while scrolling, median ms": round(statistics.median(stops)),
        "most cells": cells,
        "most elements in the document": nodes,
        "script heap before, MB": round(before["JSHeapUsedSize"] / 1e6, 1),
        "script heap after, MB": round(after["JSHeapUsedSize"] / 1e6, 1),
        "a search by two words, ms": round(1000 * searched, 1),
    }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
