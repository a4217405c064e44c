#!/usr/bin/env bash
# ray 2.60.0: the processes that ray.init starts die with the thread that called it (PR_SET_PDEATHSIG is a thread's, not a process's).
# Guess that missed: ray.init may be called on any short-lived thread, such as one of a pool.
# Seen: once the thread has ended, gcs_server and raylet are gone; the process lives on without a cluster.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ray==2.60.0 psutil==7.2.2
cd "$folder"
RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_TOKEN=$(printf 'ab%.0s' {1..32}) venv/bin/python - <<'PYTHON'
import threading
import time

import psutil
import ray

options = {"num_cpus": 1, "num_gpus": 0, "include_dashboard": False, "logging_level": "error"}
leave = threading.Event()


def init():
    ray.init(address="local", **options)
    print("started:", sorted(p.name()[:12] for p in psutil.Process().children()))
    ready.set()
    leave.wait()


ready = threading.Event()
thread = threading.Thread(target=init)
thread.start()
ready.wait()
assert any("raylet" in p.name() for p in psutil.Process().children())
leave.set()
thread.join()
time.sleep(3)
left = [p.name() for p in psutil.Process().children() if p.status() != psutil.STATUS_ZOMBIE]
print(f"ray {ray.__version__}: after the thread's end there are {left}")
assert not any("raylet" in name for name in left)
import os

os._exit(0)
PYTHON
