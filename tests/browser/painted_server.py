"""The whole server on a device that paints at once: ``python tests/browser/painted_server.py``.

Its options are the server's own. What a prompt says makes a task slow, or makes it fail, so that a
test sees both without waiting for a model. ``--history N`` writes N ended tasks first.
"""

import asyncio
import colorsys
import hashlib
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Final

if __package__ in {None, ""}:  # run as a file: the packages stand two folders up
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from PIL import Image, ImageDraw

from bus.events import now_ms
from handlers.http.serving import run
from pipeline.errors import ImageSkipped, PipelineError
from pipeline.images.encode import encode_image
from pipeline.request.decode import GenerateParams, parse_aspect_ratio
from pipeline.request.resolved import resolve_params
from pipeline.scheduling.engine_protocol import Inputs, LoadedModel
from pipeline.scheduling.local_worker import LocalWorker
from pipeline.scheduling.task import MadeImage, Outcome, Reporter, Task
from server import create_app
from settings import load_settings
from storage.database import Database, open_database
from storage.history import HistoryRepository
from tests.ended_tasks import finish

STEPS: Final = 8
STEP_SECONDS: Final = 0.02
SLOW_STEP_SECONDS: Final = 0.4  # a task whose prompt says "slow"
SUBJECTS: Final = ("star", "heart", "house", "mountain", "moon", "boat", "tree", "sunset")
COLOURS: Final = ("red", "blue", "green", "golden", "purple", "white")


def paint(prompt: str, seed: int, size: tuple[int, int]) -> Image.Image:
    """Bands and discs in colours that prompt and seed decide."""
    digest = hashlib.sha256(f"{prompt}{seed}".encode()).digest()
    hue = digest[0] / 255
    image = Image.new("RGB", size, _colour(hue, 0.35, 0.95))
    draw = ImageDraw.Draw(image)
    width, height = size
    for band in range(3):
        top = height * (band + 1) // 4
        draw.rectangle(
            (0, top, width, height), _colour(hue + 0.06 * band, 0.45, 0.75 - 0.15 * band)
        )
    for at in range(4):
        x, y = digest[at + 1] * width // 255, digest[at + 5] * height // 400
        radius = 8 + digest[at + 9] * min(size) // 900
        draw.ellipse(
            (x - radius, y - radius, x + radius, y + radius), _colour(hue + 0.5, 0.6, 0.95)
        )
    return image


def _colour(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return int(255 * red), int(255 * green), int(255 * blue)


class PaintedDevice:
    """Stands where the model would."""

    def __init__(self) -> None:
        self._loaded: tuple[LoadedModel, ...] = ()

    def loaded(self) -> tuple[LoadedModel, ...]:
        """The model, once a task has been there."""
        return self._loaded

    def release(self) -> tuple[str, ...]:
        """Forget the model."""
        names = tuple(model.name for model in self._loaded)
        self._loaded = ()
        return names

    def __call__(self, task: Task, reporter: Reporter, inputs: Inputs) -> None:
        reporter.model("checkpoint", "embedded", None)
        self._loaded = (
            LoadedModel(kind="checkpoint", name="embedded", seconds=0.01, since_mills=now_ms()),
        )
        reporter.model("checkpoint", "embedded", 0.01)
        if "unknown lora" in task.params.prompt:
            reporter.note("unknown_loras", "the prompt names LoRAs that are not there: sparkle")
        for image in range(1, task.params.image_number + 1):
            reporter.begin_image(image, task.params.image_number)
            try:
                self._make(task, reporter, image)
            except ImageSkipped:
                continue

    def _make(self, task: Task, reporter: Reporter, image: int) -> None:
        params = task.params
        seed = params.image_seed + image - 1
        picture = paint(
            params.prompt, seed, parse_aspect_ratio(params.aspect_ratios_selection) or (256, 256)
        )
        pause = SLOW_STEP_SECONDS if "slow" in params.prompt else STEP_SECONDS
        for step in range(1, STEPS + 1):
            reporter.check()
            time.sleep(pause)
            if reporter.wants_preview():
                small = picture.reduce(max(2, STEPS - step))
                reporter.preview(encode_image(small, "jpeg"), "image/jpeg")
            done = ((image - 1) * STEPS + step) / (STEPS * params.image_number)
            message = f"Sampling step {step}/{STEPS}, image {image}/{params.image_number} ..."
            reporter.progress(int(13 + 86 * done), message, step=step, steps=STEPS)
        if "fail" in params.prompt:
            raise PipelineError("the device had enough of this prompt")
        data = encode_image(picture, params.output_format, *self._words(params, seed))
        reporter.image(
            MadeImage(
                data=data,
                extension=params.output_format,
                seed=seed,
                width=picture.width,
                height=picture.height,
            )
        )

    def _words(self, params: GenerateParams, seed: int) -> tuple[str, str]:
        words = {
            "prompt": params.prompt,
            "seed": str(seed),
            "base_model": "embedded",
            "steps": STEPS,
        }
        return json.dumps(words | {"version": "Focal", "metadata_scheme": "fooocus"}), "fooocus"


async def write_history(folder: Path, count: int) -> None:
    """``count`` ended tasks with pictures: a few dozen files, shared by all of them."""
    chance = random.Random(1)
    day = folder / "2026-01-01"
    day.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(min(count, 48)):
        path = day / f"2026-01-01_00-00-00_{number:04d}.png"
        path.write_bytes(encode_image(paint("history", number, (512, 512)), "png"))
        paths.append(f"/outputs/{day.name}/{path.name}")
    async with open_database(folder / "db.sqlite3") as database:
        for number in range(count):
            await _write_task(database, number, chance, paths)


async def _write_task(
    database: Database, number: int, chance: random.Random, paths: list[str]
) -> None:
    prompt = f"a {chance.choice(COLOURS)} {chance.choice(SUBJECTS)}, number {number}"
    params = GenerateParams(prompt=prompt, image_seed=number, base_model_name="embedded")
    queued = now_ms() - (10_000_000 - number) * 1000
    task = Task(task_id=f"{number:032x}", request=resolve_params(params), in_queue_mills=queued)
    await HistoryRepository(database).add_queued(task)
    failed = number % 50 == 49
    images = () if failed else tuple(chance.sample(paths, 4 if number % 9 == 8 else 1))
    outcome = Outcome(
        status="failed" if failed else "finished",
        images=images,
        error="the machine ran out of memory; ask for a smaller picture" if failed else "",
        started_mills=queued + 5,
        finished_mills=queued + 900,
    )
    await finish(database, task.task_id, outcome)


def main(arguments: list[str]) -> None:
    """Serve until SIGTERM."""
    count = 0
    if "--history" in arguments:
        at = arguments.index("--history")
        count = int(arguments[at + 1])
        del arguments[at : at + 2]
    settings = load_settings(arguments, os.environ)
    if count and not (settings.outputs_dir / "db.sqlite3").exists():
        asyncio.run(write_history(settings.outputs_dir, count))
    app = create_app(settings, [LocalWorker("painted", lambda _sink: PaintedDevice())])
    run(app, settings.host, settings.port, settings.log_level)


if __name__ == "__main__":
    main(sys.argv[1:])
