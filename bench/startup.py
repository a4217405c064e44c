"""What does a start cost: up to /health and up to the first picture, in time, processor and memory?

    python -m bench.startup --baseline CHECKOUT

With a baseline, the folder of another build's checkout, both take turns and the ratios are printed.
The picture is asked for at once, as an impatient client would: it waits for the engine.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

from bench.measured_server import MeasuredServer
from tools.server_process import ROOT

REQUEST: Final = {"prompt": "a red star on a blue background", "image_seed": 1}


class Start(NamedTuple):
    """One start. Seconds are counted from the start of the process."""

    healthy_s: float
    healthy_cpu_s: float
    picture_s: float
    picture_cpu_s: float
    resident_mib: float  # after the first picture


TITLES: Final = (
    "to /health, s",
    "to /health, s of CPU",
    "to the first picture, s",
    "to the first picture, s of CPU",
    "resident after it, MiB",
)


def measure(checkout: Path) -> Start:
    """Start a server of this build on an empty folder, make a picture, stop it."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        server = MeasuredServer(Path(folder), ["--preset", "embedded"], checkout=checkout)
        try:
            server.wait_for("/health")
            healthy, healthy_cpu = time.perf_counter() - began, server.cpu_seconds
            record = server.post("/v1/engine/generate/", REQUEST)
            picture, picture_cpu = time.perf_counter() - began, server.cpu_seconds
            if record["task_status"] != "finished":
                raise RuntimeError(record)
            return Start(healthy, healthy_cpu, picture, picture_cpu, server.resident_mib)
        finally:
            server.stop()


def main() -> None:
    """Print the median of several starts, and the ratio to the baseline's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--baseline", type=Path, help="checkout of the build to compare with")
    options = parser.parse_args()
    builds = [ROOT] + ([options.baseline.resolve()] if options.baseline else [])
    runs = [[measure(build) for build in builds] for _ in range(options.runs)]
    columns = [
        [statistics.median(row) for row in zip(*starts, strict=True)]
        for starts in zip(*runs, strict=True)
    ]
    print(
        f"median of {options.runs} starts{'':17}this build"
        + "  baseline   ratio" * (len(builds) - 1)
    )
    for title, *medians in zip(TITLES, *columns, strict=True):
        ratio = f"{medians[0] / medians[1]:8.2f}" if len(medians) > 1 else ""
        print(f"{title:34}" + "".join(f"{value:10.2f}" for value in medians) + ratio)


if __name__ == "__main__":
    main()
