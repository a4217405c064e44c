"""How many frames a second does the mask editor paint on a picture of 2048x2048?

``python -m bench.mask_canvas [--strokes 40] [--baseline CHECKOUT]`` paints that many strokes in
headless Chromium without a GPU, then goes on painting and counts the frames. With a baseline, its
pages are measured in the same run.
"""

import argparse
import io
import json
import shutil
import sys
from pathlib import Path
from typing import Final

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from tools.server_process import ROOT, running_server

PAINTED: Final = Path("tests") / "browser" / "painted_server.py"
FLAGS: Final = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
SIDE: Final = 2048
GOAL: Final = 30
ROUNDS: Final = 3

# Strokes across the canvas, one a frame; then a line that goes on for some seconds.
PAINT: Final = """async ([strokes, seconds]) => {
  const canvas = document.querySelector(".painter canvas");
  const box = canvas.getBoundingClientRect();
  canvas.setPointerCapture = () => {};
  const frame = () => new Promise(requestAnimationFrame);
  const send = (kind, x, y) => canvas.dispatchEvent(new PointerEvent(kind, {
    clientX: box.left + box.width * x, clientY: box.top + box.height * y,
    pointerId: 1, button: 0, bubbles: true}));
  for (let stroke = 0; stroke < strokes; stroke += 1) {
    send("pointerdown", 0.1, stroke / strokes);
    for (let part = 1; part < 9; part += 1) send("pointermove", 0.1 + part / 10, stroke / strokes);
    send("lostpointercapture", 0, 0);
    await frame();
  }
  send("pointerdown", 0.5, 0.5);
  const begun = performance.now();
  let frames = 0;
  while (performance.now() - begun < 1000 * seconds) {
    await frame();
    frames += 1;
    send("pointermove", 0.5 + 0.4 * Math.cos(frames / 15), 0.5 + 0.4 * Math.sin(frames / 11));
  }
  return frames / seconds;
}"""


def picture() -> bytes:
    """Noise, so that nothing is cheap to draw."""
    file = io.BytesIO()
    Image.effect_noise((SIDE, SIDE), 60).convert("RGB").save(file, "png")
    return file.getvalue()


def frames_a_second(browser: Browser, url: str, strokes: int) -> float:
    """One visitor with a new picture."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.goto(url)
    page.locator('details[data-group="input"] > summary').click()
    page.locator('input[name="input-kind"][value="inpaint"]').check(force=True)
    file = {"name": "noise.png", "mimeType": "image/png", "buffer": picture()}
    page.locator("image-slot:visible input").set_input_files(file)  # type: ignore[arg-type]
    page.locator(".painter canvas").wait_for()
    page.wait_for_load_state("networkidle")
    counted = float(page.evaluate(PAINT, [strokes, 3]))
    page.context.close()
    return counted


def main() -> None:
    """Print the figures as a JSON object, a figure a round: others may use the machine, too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strokes", type=int, default=40)
    parser.add_argument("--baseline", type=Path, help="a checkout of the version to compare with")
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("no Chromium is installed (Debian: apt-get install chromium)")
    checkouts = {"now": ROOT} | ({"baseline": options.baseline} if options.baseline else {})
    counted: dict[str, list[float]] = {name: [] for name in checkouts}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        for _ in range(ROUNDS):
            for name, checkout in checkouts.items():
                program = checkout / PAINTED
                with running_server(["--preset", "embedded"], program=program) as server:
                    counted[name].append(frames_a_second(browser, server.url, options.strokes))
        browser.close()
    figures: dict[str, object] = {"strokes before": options.strokes, "goal, frames a second": GOAL}
    for name, rounds in counted.items():
        figures[f"{name}, frames a second"] = [round(one, 1) for one in rounds]
    if options.baseline:
        figures["ratio of the best"] = round(max(counted["now"]) / max(counted["baseline"]), 1)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
