"""Cases of the sizes that pictures are brought to before a model sees them."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from pipeline.request.decode import parse_aspect_ratio
from pipeline.request.presets import PresetStore
from pipeline.request.sizes import shape_ceil, size_of_ceil
from tools.parity_cases.compare import Results
from tools.parity_cases.fixtures import Case, Fixtures
from tools.parity_cases.requests import ROOT


def size_text(width: int, height: int, sizes: Sequence[tuple[int, int]]) -> str:
    """Two lines as the reference shows them: an image's size and shape, then the nearest size's."""
    shape = round(width / height, 2)
    nearest = min(sizes, key=lambda size: abs(shape - size[0] / size[1]))
    return "\n".join(_described(*size) for size in ((width, height), nearest))


def _described(width: int, height: int) -> str:
    divisor = math.gcd(width, height)
    shape = round(width / height, 2)
    return f"{width} x {height}, {shape}, {width // divisor}:{height // divisor}"


def _ceils(recorded: Any) -> Any:
    return [{**each, "ceil": shape_ceil(each["w"], each["h"])} for each in recorded]


def _sizes(recorded: Any) -> Any:
    made = []
    for each in recorded:
        width, height = size_of_ceil(each["w"], each["h"], each["ceil"])
        made.append({**each, "out_w": width, "out_h": height})
    return made


def _texts(recorded: Any) -> Any:
    preset = PresetStore(ROOT / "presets").load("default")
    parsed = (parse_aspect_ratio(text) for text in preset.available_aspect_ratios)
    sizes = [size for size in parsed if size is not None]
    return [{**each, "text": size_text(each["w"], each["h"], sizes)} for each in recorded]


CASES: Final[dict[str, Callable[[Any], Any]]] = {
    "image_size_info": _texts,
    "set_image_shape_ceil": _sizes,
    "shape_ceil": _ceils,
}


def recorded_json(case: Case, fixtures: Fixtures) -> Results:
    """One entry of the file."""
    name = case.outputs[0]
    return {name: CASES[name](fixtures.json(case.file)[name])}


RUNNERS = dict.fromkeys((f"json.{name}" for name in CASES), recorded_json)
