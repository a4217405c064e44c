"""Cases of painting parts of a picture: areas, masks, fills, and how a result goes back in."""

import hashlib
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.images.inpaint_area import (
    Box,
    InpaintArea,
    Shown,
    fill,
    find_box,
    grow_box,
    make_area,
)
from pipeline.images.masks import Pixels, binary, grow_mask, soften_mask
from tools.parity_cases.compare import LeftOut, Results
from tools.parity_cases.fixtures import Case, Fixtures
from tools.parity_cases.sizes import thinned

NATIVE: Final = 1024
FIELD: Final = 0.618  # of the area into which a result is put back
_NO_PICTURE: Final = LeftOut("only its masks are known of the large picture; see inpaint.small")
_ROUNDED: Final = LeftOut("a mean's last digit depends on numpy; the hash is compared")


def enlarge(pixels: Pixels) -> Pixels:
    """The figures' stand-in for an upscaler: every pixel four times each way."""
    return pixels.repeat(4, axis=0).repeat(4, axis=1)


def small(case: Case, fixtures: Fixtures) -> Results:
    """All of a small picture's pieces."""
    tensors = fixtures.tensors(case.file)
    picture, mask, made = (_pixels(tensors[name]) for name in case.inputs)
    height, width = mask.shape
    first = find_box(mask)
    areas = {field: grow_box(first, float(field), width, height) for field in case.areas}
    box = grow_box(first, FIELD, width, height)
    area = InpaintArea(picture, soften_mask(mask), box, picture, mask, picture)
    results = {
        "fill": fill(picture, mask),
        "open": area.soft_mask,
        "up255": binary(mask),
        "post": area.paste(made),
        "colour": area.blend(255 - picture),
    }
    return {
        **{f"{case.id}.{name}": torch.from_numpy(pixels) for name, pixels in results.items()},
        "initial_area": list(first),
        "areas": {field: list(each) for field, each in areas.items()},
    }


def big(case: Case, fixtures: Fixtures) -> Results:
    """Parts of large pictures."""
    results: dict[str, Any] = {}
    for each in fixtures.json("prepost.json")["inpaint_big"]["cases"]:
        area = _area(each)
        name = f"{case.id}.{each['kind']}.{each['h']}x{each['w']}.k{each['k']}"
        name = f"{name}.fill{int(each['use_fill'])}"
        masks = {"mask": area.mask, "soft": area.soft_mask}
        for figure in fixtures.tensors(case.file):
            kind = figure.removeprefix(f"{name}.").partition("_s")[0]
            if kind in masks:
                results[figure] = thinned(torch.from_numpy(masks[kind]), figure)
            elif kind in _PICTURES:
                results[figure] = _NO_PICTURE
    return results


def big_digests(case: Case, fixtures: Fixtures) -> Results:
    """What is recorded of large pictures as JSON."""
    recorded = fixtures.json(case.file)["inpaint_big"]
    return {"inpaint_big": {**recorded, "cases": [_digests(each) for each in recorded["cases"]]}}


def grown(case: Case, fixtures: Fixtures) -> Results:
    """Masks grown and shrunk."""
    mask = _pixels(fixtures.tensors(case.file)[case.inputs[0]])
    steps = [name.removeprefix("erode.") for name in fixtures.tensors(case.file)]
    return {
        f"erode.{n}": torch.from_numpy(grow_mask(mask, int(n)))
        for n in steps
        if n.removeprefix("-").isdecimal()
    }


_PICTURES: Final = {"fill": "filled", "image": "shown", "post": "picture"}  # which have its size


def _digests(recorded: Any) -> dict[str, Any]:
    area = _area(recorded)
    pictures = {
        name: {
            "dtype": "uint8",
            "shape": list(getattr(area, like).shape),
            "sha256": _NO_PICTURE,
            "mean": _NO_PICTURE,
            "std": _NO_PICTURE,
        }
        for name, like in _PICTURES.items()
    }
    masks = {"mask": _digest(area.mask), "soft_mask": _digest(area.soft_mask)}
    return {**recorded, "area": list(area.box), **pictures, **masks}


def _digest(pixels: Pixels) -> dict[str, Any]:
    return {
        "dtype": str(pixels.dtype),
        "shape": list(pixels.shape),
        "sha256": sha256(pixels),
        "mean": _ROUNDED,
        "std": _ROUNDED,
    }


def sha256(pixels: Pixels) -> str:
    """The hash of pixels row by row."""
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def _area(recorded: Any) -> InpaintArea:
    mask = large_mask(recorded["kind"], recorded["h"], recorded["w"])
    picture = np.zeros((*mask.shape, 3), np.uint8)
    return make_area(picture, mask, recorded["k"], Shown(NATIVE, enlarge=enlarge))


def large_mask(kind: str, height: int, width: int) -> Pixels:
    """The recorded masks, as the small ones show how they are made."""
    mask: NDArray[np.uint8] = np.zeros((height, width), np.uint8)
    if kind == "center":
        rows = slice(int(0.4 * height), int(0.55 * height))
        Box(rows.start, rows.stop, int(0.45 * width), int(0.6 * width)).cut(mask)[:] = 255
    elif kind == "corner":
        Box(0, int(0.12 * height), width - int(0.2 * width), width).cut(mask)[:] = 255
    else:
        y, x = np.mgrid[0:height, 0:width].astype(np.float64)
        distance = np.hypot(x - 0.3 * width, y - 0.6 * height) / (0.35 * min(height, width))
        mask = (((1.0 - distance) * 1.4).clip(0.0, 1.0) * 255.0).astype(np.uint8)
    return mask


def _pixels(tensor: Tensor) -> Pixels:
    return tensor.numpy()


RUNNERS = {
    "inpaint.small.": small,
    "inpaint.big": big,
    "json.inpaint_big": big_digests,
    "erode_or_dilate": grown,
}
