#!/usr/bin/env bash
# ray 2.60.0: memory of a streaming generator's items is held until the stream ends, also of items that were read.
# Guess that missed: one stream for an actor's life is the cheapest way to hear from it.
# Seen: 100,000 items of 100 bytes read one by one cost the reader 1.6 to 2.2 KB each and the actor 1 KB; those in streams of 50 cost nothing.
# Who listens for long ends a stream after some hundred items and asks for the next.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ray==2.60.0
cd "$folder"
RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_TOKEN=$(printf 'ab%.0s' {1..32}) venv/bin/python - <<'PYTHON'
import ray

ITEMS = 100_000


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


class Talker:
    def talk(self, items):
        for _ in range(items):
            yield b"x" * 100


ray.init(address="local", num_cpus=1, num_gpus=0, include_dashboard=False, logging_level="error")
actor = ray.remote(num_cpus=0)(Talker).remote()


def cost(length):
    before = resident()
    for _ in range(ITEMS // length):
        for reference in actor.talk.options(num_returns="streaming").remote(length):
            ray.get(reference)
    return (resident() - before) / ITEMS


cost(50)  # what grows once
one, many = cost(ITEMS), cost(50)
print(f"ray {ray.__version__}: {one:.0f} bytes an item in one stream, {many:.0f} in streams of 50")
assert one > 500 > 100 > many
PYTHON
