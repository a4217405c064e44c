"""What does the server add to the bare pipeline call on the same work? Baseline: the engine alone.

The bare call runs in this process, shows no preview and writes nothing (reading its picture back
costs it some 2 ms); the HTTP request goes through the queue, the events with previews, the history
and the disk. Both make the same pictures, turn by turn, so that a machine whose speed drifts slows
both. What counts is the processor time of the two processes; the time that passes is shown beside.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from bench.measured_server import MeasuredServer
from tools.embedded.painter import Painter

PROMPT = "a red star on a blue background"


class Cost(NamedTuple):
    """Seconds that passed, and seconds of processor time."""

    wall: float
    cpu: float


def time_bare(painter: Painter, seed: int) -> Cost:
    """One call."""
    started, used = time.perf_counter(), time.process_time()
    painter(PROMPT, seed)
    return Cost(time.perf_counter() - started, time.process_time() - used)


def time_http(server: MeasuredServer, seed: int, steps: int) -> Cost:
    """From sending the request to the finished record, of the server alone."""
    body = {"prompt": PROMPT, "image_seed": seed, "overwrite_step": steps}
    started, used = time.perf_counter(), server.cpu_ns
    record = server.post("/v1/engine/generate/", body)
    cost = Cost(time.perf_counter() - started, (server.cpu_ns - used) / 1e9)
    if record["task_status"] != "finished":
        raise RuntimeError(record)
    return cost


def main() -> None:
    """Print both medians and the ratio of each pair."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--steps", type=int, default=100, help="denoising steps of each picture")
    options = parser.parse_args()
    painter = Painter("cpu", {"overwrite_step": options.steps})
    with tempfile.TemporaryDirectory() as folder:
        server = MeasuredServer(Path(folder), ["--preset", "embedded", "--device", "cpu"])
        try:
            server.wait_until_ready()
            time_bare(painter, 0)
            time_http(server, 0, options.steps)
            pairs = [
                (time_bare(painter, seed), time_http(server, seed, options.steps))
                for seed in range(1, options.pairs + 1)
            ]
        finally:
            server.stop()
    print(f"pairs: {len(pairs)}, {options.steps} steps, 256x256; medians")
    print(f"{'':16}{'bare call':>12}{'over HTTP':>12}{'ratio, pair by pair':>22}")
    for title, index in (("s of CPU", 1), ("s that passed", 0)):
        bare, http = ([cost[index] for cost in column] for column in zip(*pairs, strict=True))
        ratio = statistics.median(b / a for a, b in zip(bare, http, strict=True))
        print(
            f"{title:16}{statistics.median(bare):12.3f}{statistics.median(http):12.3f}{ratio:22.3f}"
        )


if __name__ == "__main__":
    main()
