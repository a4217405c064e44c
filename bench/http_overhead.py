"""What does the server add to the bare pipeline call on the same work? Baseline: the engine alone.

The bare call runs in this process and writes nothing; the HTTP request goes through the queue, the
events with previews, the history and the disk. Both make the same pictures, turn by turn, so that a
machine whose speed drifts slows both.
"""

import argparse
import statistics
import time

from bus.events import now_ms
from pipeline.catalog import ModelCatalog
from pipeline.engine import Library, load_engine
from pipeline.params import decode_params
from pipeline.presets import PresetStore
from pipeline.styles import StyleLibrary
from pipeline.tasks import Generate, MadeImage, Task
from pipeline.wildcards import Wildcards
from tools.server_process import ROOT, ServerProcess, running_server

PROMPT = "a red star on a blue background"


class SilentReporter:
    """The least a pipeline can be told to report to: nothing is shown, nothing is kept."""

    def check(self) -> None:
        """Nobody stops it."""

    def progress(self, percent: int, message: str, *, step: int = 0, steps: int = 0) -> None:
        """Nobody listens."""

    def begin_image(self, image: int, images: int) -> None:
        """Nothing to forget."""

    def wants_preview(self) -> bool:
        """No previews: the baseline is the bare call."""
        return False

    def preview(self, data: bytes, mime: str) -> None:
        """Never called."""

    def image(self, made: MadeImage) -> None:
        """The picture is dropped."""

    def note(self, key: str, value: object) -> None:
        """Nothing is recorded."""

    def model(self, kind: str, name: str, seconds: float | None) -> None:
        """Nobody listens."""


def library() -> Library:
    """The project's own files, as the server uses them."""
    return Library(
        ModelCatalog(ROOT / "models"),
        PresetStore(ROOT / "presets", "embedded"),
        StyleLibrary(ROOT / "sdxl_styles"),
        Wildcards(ROOT / "wildcards"),
    )


def bare_task(seed: int, steps: int) -> Task:
    """The same task as the HTTP request, preset applied."""
    body = f'{{"prompt": "{PROMPT}", "image_seed": {seed}, "overwrite_step": {steps}}}'
    decoded = decode_params(body.encode())
    presets = PresetStore(ROOT / "presets", "embedded")
    params = presets.apply(decoded.params, decoded.present, presets.load("embedded"))
    return Task(task_id="0" * 32, params=params, in_queue_mills=now_ms())


def time_bare(engine: Generate, seed: int, steps: int) -> float:
    """Seconds of one call."""
    task = bare_task(seed, steps)
    started = time.perf_counter()
    engine(task, SilentReporter())
    return time.perf_counter() - started


def time_http(server: ServerProcess, seed: int, steps: int) -> float:
    """Seconds from sending the request to the finished record."""
    body = {"prompt": PROMPT, "image_seed": seed, "overwrite_step": steps}
    started = time.perf_counter()
    record = server.post("/v1/engine/generate/", body)
    seconds = time.perf_counter() - started
    if record["task_status"] != "finished":
        raise RuntimeError(record)
    return seconds


def main() -> None:
    """Print both medians and the ratio of each pair."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--steps", type=int, default=100, help="denoising steps of each picture")
    options = parser.parse_args()
    engine = load_engine("cpu", library())
    with running_server(["--preset", "embedded", "--device", "cpu"]) as server:
        time_bare(engine, 0, options.steps)
        time_http(server, 0, options.steps)
        pairs = [
            (time_bare(engine, seed, options.steps), time_http(server, seed, options.steps))
            for seed in range(1, options.pairs + 1)
        ]
    bare, http = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(b / a for a, b in pairs)
    print(f"pairs: {len(pairs)}, {options.steps} steps, 256x256")
    print(f"bare pipeline call: {bare:.3f} s (median)")
    print(f"HTTP to finished:   {http:.3f} s (median), {1e3 * (http - bare):.0f} ms more")
    print(f"ratio, pair by pair: {ratio:.3f} (median)")


if __name__ == "__main__":
    main()
