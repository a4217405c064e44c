"""What is gained by making pictures together? Embedded model, its preset's steps, on the CPU.

Four pictures of one task: diffusers' own pipeline (the baseline; one call a picture), then our
engine one by one and together, turn by turn in this process. Sixteen waiting tasks: two servers,
one with ``--batch off`` (the baseline), which get the same tasks turn by turn. Processor time
counts; the time that passes is shown beside.
"""

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from PIL import Image

from bench.bare_diffusers import diffusers_pipeline, drawing
from bench.measured_server import MeasuredServer
from pipeline.engine.engine import Engine, load_engine
from pipeline.engine.options import AUTO_BATCH, EngineOptions
from pipeline.files.library import open_library
from pipeline.models.checkpoint import load_checkpoint
from pipeline.models.manager import EMBEDDED_FOLDER
from pipeline.request.choices import EMBEDDED
from pipeline.request.decode import params_from
from pipeline.request.resolved import ResolvedRequest, resolve_params
from pipeline.scheduling.task import Task
from tools.embedded.painter import Collector
from tools.server_process import ROOT

PROMPT: Final = "a red star on a blue background"
NEGATIVE: Final = "blurry"
PICTURES: Final = 4
TASKS: Final = 16
SIDE: Final = 256
CFG: Final = 4.0


class Cost(NamedTuple):
    """Seconds of processor time, and seconds that passed."""

    cpu: float
    wall: float


def cost_of(work: Callable[[], object]) -> Cost:
    """One call in this process."""
    started, used = time.perf_counter(), time.process_time()
    work()
    return Cost(time.process_time() - used, time.perf_counter() - started)


def request_for(steps: int) -> ResolvedRequest:
    """Four pictures of one task."""
    presets = open_library(ROOT, ROOT / "models", EMBEDDED, downloads=False).presets
    asked = {
        "prompt": PROMPT,
        "negative_prompt": NEGATIVE,
        "image_number": PICTURES,
        "image_seed": 1,
        "overwrite_step": steps,
        "save_metadata_to_images": False,
    }
    params = presets.apply(params_from(asked), frozenset(asked))
    return resolve_params(params, presets.describing(params))


def our_engine(batch: int) -> Engine:
    """The engine with the embedded model loaded."""
    library = open_library(ROOT, ROOT / "models", EMBEDDED, downloads=False)
    engine = load_engine("cpu", library, options=EngineOptions(batch=batch))
    engine.preload(EMBEDDED)
    return engine


def pictures_of(engine: Engine, request: ResolvedRequest) -> list[Image.Image]:
    """The pictures of a task."""
    reporter = Collector()
    engine(Task(task_id="bench", request=request, in_queue_mills=0), reporter)
    return [Image.open(io.BytesIO(each.data)).convert("RGB") for each in reporter.made]


def psnr(first: Image.Image, second: Image.Image) -> float:
    """Decibels between two pictures; infinite for the same."""
    difference = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    error = float((difference**2).mean())
    return float("inf") if error == 0 else 10 * float(np.log10(255.0**2 / error))


def one_task(rounds: int, steps: int) -> None:
    """Print what four pictures cost in each way, a picture, and how far together is from alone."""
    checkpoint = load_checkpoint(EMBEDDED_FOLDER, torch.device("cpu"))
    bare = drawing(diffusers_pipeline(checkpoint, EMBEDDED_FOLDER), steps, CFG)
    alone, together, request = our_engine(1), our_engine(AUTO_BATCH), request_for(steps)

    def baseline() -> None:
        for _ in range(PICTURES):
            bare(PROMPT, NEGATIVE, SIDE, 1)

    ways: Mapping[str, Callable[[], object]] = {
        "diffusers, one by one": baseline,
        "ours, one by one": lambda: pictures_of(alone, request),
        "ours, together": lambda: pictures_of(together, request),
    }
    for work in ways.values():
        work()
    costs: dict[str, list[Cost]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, work in ways.items():
            costs[name].append(cost_of(work))
    print(f"{PICTURES} pictures of a task, {SIDE}x{SIDE}, {steps} steps, {rounds} rounds; medians")
    print(f"{'':24}{'s of CPU':>10}{'s passed':>10}{'ratio of CPU to diffusers':>28}")
    first = next(iter(costs.values()))
    for name, own in costs.items():
        ratio = statistics.median(
            each.cpu / base.cpu for each, base in zip(own, first, strict=True)
        )
        cpu, wall = (statistics.median(column) for column in zip(*own, strict=True))
        print(f"{name:24}{cpu:10.2f}{wall:10.2f}{ratio:28.3f}")
    pairs = zip(pictures_of(alone, request), pictures_of(together, request), strict=True)
    print(f"together against one by one: at least {min(psnr(*pair) for pair in pairs):.1f} dB")


@contextmanager
def serving(folder: Path, batch: str) -> Iterator[MeasuredServer]:
    """A server with the embedded model on the CPU."""
    folder.mkdir()
    options = ["--preset", EMBEDDED, "--device", "cpu", "--batch", batch]
    server = MeasuredServer(folder, options)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()


def queue_cost(server: MeasuredServer, tasks: int, steps: int) -> Cost:
    """From the queue's going on until the last task has ended."""
    server.post("/v1/engine/generate/", {"prompt": PROMPT, "overwrite_step": 1})
    server.post("/v1/queue/pause", {})
    for seed in range(tasks):
        body: dict[str, Any] = {"prompt": f"{PROMPT} {seed}", "image_seed": seed}
        server.post("/v1/engine/generate/", body | {"overwrite_step": steps, "async_process": True})
    used, started = server.cpu_ns, time.perf_counter()
    server.post("/v1/queue/resume", {})
    while (queue := server.get("/v1/queue"))["running"] or queue["waiting"]:
        time.sleep(0.1)
    return Cost((server.cpu_ns - used) / 1e9, time.perf_counter() - started)


def waiting_tasks(rounds: int, steps: int) -> None:
    """Print what sixteen waiting tasks cost the two servers."""
    with (
        tempfile.TemporaryDirectory() as scratch,
        serving(Path(scratch) / "off", "off") as one_by_one,
        serving(Path(scratch) / "auto", "auto") as together,
    ):
        pairs = [
            (queue_cost(one_by_one, TASKS, steps), queue_cost(together, TASKS, steps))
            for _ in range(rounds)
        ]
    print(f"\n{TASKS} waiting tasks, {SIDE}x{SIDE}, {steps} steps, {rounds} rounds; medians")
    print(f"{'':12}{'one by one':>12}{'together':>12}{'gain, pair by pair':>22}")
    for title, index in (("s of CPU", 0), ("s passed", 1)):
        alone, batched = ([cost[index] for cost in column] for column in zip(*pairs, strict=True))
        gain = statistics.median(a / b for a, b in zip(alone, batched, strict=True))
        print(
            f"{title:12}{statistics.median(alone):12.2f}{statistics.median(batched):12.2f}{gain:22.3f}"
        )


def main() -> None:
    """Both questions, or one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--only", choices=["task", "queue"], help="one of the two questions")
    options = parser.parse_args()
    if options.only != "queue":
        one_task(options.rounds, options.steps)
    if options.only != "task":
        waiting_tasks(options.rounds, options.steps)


if __name__ == "__main__":
    main()
