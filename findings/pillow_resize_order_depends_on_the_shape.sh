#!/usr/bin/env bash
# Pillow 13.0.0: Image.resize filters the height first when a picture gets wider and shorter, and the width first otherwise;
# Pillow 12.0.0 always filters the width first. The two orders round differently, so the same call gives other pixels.
# Guess that missed: the pixels of one resampling filter do not change between releases.
# Seen: 64x96 -> 128x48 is "width first" in 12.0.0 and "height first" in 13.0.0; three other shapes are "width first" in both.
# Who must repeat pictures of older releases calls resize twice, width first.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/order.py" <<'PY'
import random
import PIL
from PIL import Image

rng = random.Random(1)
picture = Image.frombytes("L", (64, 96), bytes(rng.randrange(256) for _ in range(64 * 96)))
orders = []
for width, height in ((128, 48), (32, 192), (128, 192), (32, 48)):
    size = (width, height)
    at_once = picture.resize(size, Image.Resampling.LANCZOS).tobytes()
    lanczos = Image.Resampling.LANCZOS
    by_width = picture.resize((width, 96), lanczos).resize(size, lanczos).tobytes()
    by_height = picture.resize((64, height), lanczos).resize(size, lanczos).tobytes()
    assert by_width != by_height
    orders.append("width" if at_once == by_width else "height" if at_once == by_height else "?")
print(PIL.__version__, *orders)
PY
for version in 12.0.0 13.0.0; do
  python3 -m venv "$folder/$version"
  "$folder/$version/bin/pip" install --quiet --disable-pip-version-check "pillow==$version"
  "$folder/$version/bin/python" "$folder/order.py" | tee -a "$folder/seen"
done
printf '12.0.0 width width width width\n13.0.0 height width width width\n' | diff - "$folder/seen"
