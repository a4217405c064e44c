"""How long from process start to /health, to readiness, and to the first picture?"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from tools.server_process import ServerProcess

REQUEST = {"prompt": "a red star on a blue background", "image_seed": 1}


def measure() -> tuple[float, float, float]:
    """Seconds from the process's start to its first /health, to ready, to a finished picture."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        server = ServerProcess(Path(folder))
        try:
            server.wait_for("/health")
            healthy = time.perf_counter() - started
            # Asked for at once, as an impatient client would: it waits for the engine.
            record = server.post("/v1/engine/generate/", REQUEST)
            picture = time.perf_counter() - started
            ready = server.wait_until_ready()
            if record["task_status"] != "finished":
                raise RuntimeError(record)
        finally:
            server.stop()
    return healthy, ready, picture


def main() -> None:
    """Print the median of several starts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = [measure() for _ in range(parser.parse_args().runs)]
    healthy, _, picture = (statistics.median(column) for column in zip(*runs, strict=True))
    print(f"starts: {len(runs)} (median)")
    print(f"process start to /health:       {healthy:6.2f} s")
    print(f"process start to first picture: {picture:6.2f} s")


if __name__ == "__main__":
    main()
