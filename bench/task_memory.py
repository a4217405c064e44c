"""Does the server's memory stay flat over thousands of finished tasks?"""

import argparse
import statistics

import psutil

from tools.server_process import running_server

REQUEST = {"prompt": "a red star", "overwrite_step": 1, "aspect_ratios_selection": "256*256"}
WARM_UP = 200


def main() -> None:
    """Print the resident size after the warm-up and at the end, and the slope between."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=2000)
    options = parser.parse_args()
    sizes: list[float] = []
    with running_server(["--preset", "embedded"]) as server:
        process = psutil.Process(server.process.pid)
        for number in range(options.tasks):
            record = server.post("/v1/engine/generate/", {**REQUEST, "image_seed": number})
            if record["task_status"] != "finished":
                raise RuntimeError(record)
            sizes.append(process.memory_info().rss / 2**20)
            if (number + 1) % 200 == 0:
                print(f"{number + 1:6d} tasks: {sizes[-1]:7.1f} MB")
    after = sizes[WARM_UP:]
    slope = statistics.linear_regression(range(len(after)), after).slope
    print(f"first {sizes[0]:.1f} MB, after warm-up {after[0]:.1f} MB, end {after[-1]:.1f} MB")
    print(f"slope after warm-up: {1024 * slope:+.2f} kB a task")


if __name__ == "__main__":
    main()
