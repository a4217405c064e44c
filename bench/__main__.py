"""Runs every benchmark, one after another: ``make bench``. Takes about half an hour."""

import subprocess
import sys
from typing import Final

from tools.server_process import ROOT

ALONE: Final = (
    "startup",
    "http_routes",
    "admission",
    "families",
    "http_overhead",
    "event_latency",
    "bus_fanout",
    "history_pages",
    "task_memory",
    "gallery",
    "queue_size",
    "traced_request",
    "parsers",
    "upscalers",
    "batches",
    "cpu_engines",
)


def run(name: str) -> None:
    """Run one in a process of its own, so that none starts warm."""
    print(f"\n== {name}", flush=True)
    command = [sys.executable, "-m", f"bench.{name}"]
    subprocess.run(command, cwd=ROOT, check=True)


def main() -> None:
    """All of them; the first failure ends the run."""
    for name in ALONE:
        run(name)


if __name__ == "__main__":
    main()
