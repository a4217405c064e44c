"""What does the server add to the bare pipeline call on the same work? Baseline: the engine alone.

The bare call runs in this process, shows no preview and writes nothing (reading its picture back
costs it some 2 ms); the HTTP request goes through the queue, the events with previews, the history
and the disk. Both make the same pictures, turn by turn, so that a machine whose speed drifts slows
both.
"""

import argparse
import statistics
import time

from tools.embedded.painter import Painter
from tools.server_process import ServerProcess, running_server

PROMPT = "a red star on a blue background"


def time_bare(painter: Painter, seed: int) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    painter(PROMPT, seed)
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
    painter = Painter("cpu", {"overwrite_step": options.steps})
    with running_server(["--preset", "embedded", "--device", "cpu"]) as server:
        time_bare(painter, 0)
        time_http(server, 0, options.steps)
        pairs = [
            (time_bare(painter, seed), time_http(server, seed, options.steps))
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
