"""One picture by every sampler over HTTP, judged: ``python -m tools.sampler_sheet``.

Writes docs/samplers.png, prints a line a sampler, and fails where a picture does not follow its
prompt. Each sampler gets the embedded model's own settings and a prompt of its own.
"""

import argparse
import io
import sys
import urllib.request
from pathlib import Path
from typing import Final, NamedTuple

from PIL import Image

from pipeline.request.choices import SAMPLER_NAMES
from tools.embedded.captions import Triple, examination_prompt
from tools.embedded.metrics import Verdict, judge, shape_templates
from tools.embedded.sheet import write_sheet
from tools.server_process import ROOT, ServerProcess, running_server

SHEET: Final = ROOT / "docs" / "samplers.png"
SEED: Final = 1
TRIPLES: Final = (
    Triple("red", "circle", "blue"),
    Triple("yellow", "star", "purple"),
    Triple("green", "heart", "white"),
    Triple("orange", "triangle", "cyan"),
    Triple("blue", "square", "yellow"),
    Triple("pink", "diamond", "green"),
)
# What each distilled sampler was made for; the others get the preset's own.
SCHEDULERS: Final = {"lcm": "lcm", "tcd": "tcd"}


class Row(NamedTuple):
    """One sampler's picture and what is right about it."""

    sampler: str
    scheduler: str
    triple: Triple
    image: Image.Image
    verdict: Verdict

    @property
    def passed(self) -> bool:
        return self.verdict.colours and self.verdict.shape

    def __str__(self) -> str:
        wrong = [name for name, right in self.verdict._asdict().items() if not right]
        told = f"FAIL  wrong: {', '.join(wrong)}" if wrong else "pass"
        return f"{self.sampler:20} {self.scheduler:8} {examination_prompt(self.triple):42} {told}"


def draw(server: ServerProcess, sampler: str, scheduler: str, triple: Triple) -> Image.Image:
    """The picture of one request. Raises RuntimeError if none is made."""
    body = {
        "prompt": examination_prompt(triple),
        "image_seed": SEED,
        "sampler_name": sampler,
        "scheduler_name": scheduler,
    }
    record = server.post("/v1/engine/generate/", body)
    if record["task_status"] != "finished":
        raise RuntimeError(f"{sampler}: {record}")
    with urllib.request.urlopen(record["result"][0]) as reply:  # noqa: S310 - our own server
        return Image.open(io.BytesIO(reply.read())).convert("RGB")


def draw_all(server: ServerProcess) -> list[Row]:
    """Every sampler's picture, in the order of their names."""
    templates = shape_templates()
    rows = []
    for number, sampler in enumerate(SAMPLER_NAMES):
        triple = TRIPLES[number % len(TRIPLES)]
        scheduler = SCHEDULERS.get(sampler, "karras")
        image = draw(server, sampler, scheduler, triple)
        rows.append(Row(sampler, scheduler, triple, image, judge(image, triple, templates)))
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Draw, judge, write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=SHEET)
    path = parser.parse_args().to
    with running_server(["--preset", "embedded"]) as server:
        rows = draw_all(server)
    texts = [f"{row.sampler}: {row.triple.colour} {row.triple.shape}" for row in rows]
    write_sheet([row.image for row in rows], texts, path)
    passed = sum(row.passed for row in rows)
    print(f"{passed} of {len(rows)} pictures follow their prompts; {path.name} written")
    sys.exit(0 if passed == len(rows) else 1)


if __name__ == "__main__":
    main()
