"""One check a kind of request: what is asked, and the figures of what comes back."""

from collections.abc import Callable, Mapping
from statistics import fmean
from typing import Any, Final, NamedTuple

import numpy as np
from PIL import Image

from tools.pictures_in.client import Client, data_url
from tools.pictures_in.measures import (
    colour_within,
    distance,
    edge_overlap,
    pixels,
    psnr,
)
from tools.pictures_in.subjects import round_mask, subject

HALO: Final = 32  # pixels around a mask into which Fooocus blends what it painted
WEIGHTS: Final = (0.0, 0.4, 0.8, 1.2)

Figures = dict[str, float]


class Shown(NamedTuple):
    """A picture for the contact sheet, and its words."""

    image: Image.Image
    text: str


class Result(NamedTuple):
    """What one check measured, and the pictures of its first subjects."""

    figures: Figures
    shown: list[Shown]


def inpaint(client: Client, count: int, more: Mapping[str, Any] | None = None) -> Result:
    """Outside the mask pixels are equal; inside, the asked colour appears."""
    mask = round_mask((256, 256))
    inside, near = np.asarray(mask) > 127, _grown(mask, HALO)
    equal, right, before = [], [], []
    shown: list[Shown] = []
    for each in map(subject, range(count)):
        made = client.picture(
            {
                "prompt": each.prompt,
                "image_seed": each.number,
                "inpaint_input_image": data_url(each.image),
                "inpaint_mask_image_upload": data_url(mask),
                **(more or {}),
            }
        )
        outside = pixels(made)[~near] == pixels(each.image)[~near]
        equal.append(float(made.size == each.image.size and outside.all()))
        right.append(float(colour_within(made, _core(inside)) == each.asked.colour))
        before.append(float(colour_within(each.image, _core(inside)) == each.asked.colour))
        _show(shown, (each.image, each.shown_prompt), (made, f"painted: {each.asked.colour}"))
    return Result(
        {
            "pixels outside equal": fmean(equal),
            "asked colour inside": fmean(right),
            "asked colour inside before": fmean(before),
        },
        shown,
    )


def outpaint(client: Client, count: int) -> Result:
    """Sizes are exact and the original part is kept."""
    sized, kept = [], []
    shown: list[Shown] = []
    for each in map(subject, range(count)):
        made = client.picture(
            {
                "prompt": each.shown_prompt,
                "image_seed": each.number,
                "inpaint_input_image": data_url(each.image),
                "outpaint_selections": ["Left", "Right"],
            }
        )
        grown = int(256 * 0.3)
        sized.append(float(made.size == (256 + 2 * grown, 256)))
        inner = pixels(made)[:, grown + HALO : grown + 256 - HALO]
        kept.append(float((inner == pixels(each.image)[:, HALO:-HALO]).all()))
        _show(shown, (each.image, each.shown_prompt), (made, "30 % left and right"))
    return Result({"size exact": fmean(sized), "original part kept": fmean(kept)}, shown)


def vary(client: Client, count: int) -> Result:
    """Subtle stays nearer to its input than strong, and both nearer than a new seed."""
    far: dict[str, list[float]] = {"Vary (Subtle)": [], "Vary (Strong)": [], "new seed": []}
    shown: list[Shown] = []
    for each in map(subject, range(count)):
        base = {"prompt": each.shown_prompt, "image_seed": each.number}
        row = [(each.image, each.shown_prompt)]
        for method, distances in far.items():
            put_in = {"uov_input_image": data_url(each.image), "uov_method": method}
            made = client.picture(base if method == "new seed" else {**base, **put_in})
            distances.append(distance(each.image, made))
            row.append((made, method))
        _show(shown, *row)
    ordered = [a < b < c for a, b, c in zip(*far.values(), strict=True)]
    figures = {f"distance, {method}": fmean(values) for method, values in far.items()}
    return Result({**figures, "in this order": fmean(map(float, ordered))}, shown)


def upscale(client: Client, count: int) -> Result:
    """Sizes are exact and the result, scaled down again, is near its input."""
    factors = {"Upscale (1.5x)": 1.5, "Upscale (2x)": 2.0, "Upscale (Fast 2x)": 2.0}
    sized: list[float] = []
    near: dict[str, list[float]] = {method: [] for method in factors}
    shown: list[Shown] = []
    for each in map(subject, range(count)):
        row = [(each.image, each.shown_prompt)]
        for method, factor in factors.items():
            made = client.picture(
                {
                    "prompt": each.shown_prompt,
                    "image_seed": each.number,
                    "uov_input_image": data_url(each.image),
                    "uov_method": method,
                }
            )
            sized.append(float(made.size == (round(256 * factor), round(256 * factor))))
            near[method].append(psnr(each.image, made))
            row.append((made, method))
        _show(shown, *row)
    figures = {f"PSNR in dB, {method}": fmean(values) for method, values in near.items()}
    return Result({"size exact": fmean(sized), **figures}, shown)


def image_prompt(client: Client, count: int) -> Result:
    """A picture's colours are taken up, and more so with more weight."""
    matched: dict[float, list[float]] = {weight: [] for weight in WEIGHTS}
    near: dict[float, list[float]] = {weight: [] for weight in WEIGHTS}
    shown: list[Shown] = []
    for each in map(subject, range(count)):
        row = [(each.image, "image prompt")]
        for weight in WEIGHTS:
            control = {"cn_img": data_url(each.image), "cn_weight": weight, "cn_stop": 1.0}
            made = client.picture(
                {
                    "prompt": f"a {each.shown.shape}",
                    "image_seed": each.number,
                    "controlnet_image": [control],
                }
            )
            matched[weight].append(float(_background(made) == each.shown.background))
            near[weight].append(distance(each.image, made))
            row.append((made, f"weight {weight:g}"))
        _show(shown, *row)
    return Result(
        {
            **{f"background taken up, weight {w:g}": fmean(v) for w, v in matched.items()},
            **{f"distance, weight {w:g}": fmean(v) for w, v in near.items()},
        },
        shown,
    )


def control(client: Client, count: int, kind: str) -> Result:
    """Edges follow those of the picture that steers."""
    with_it, without = [], []
    shown: list[Shown] = []
    for each in map(subject, range(count)):
        asked = {"prompt": each.prompt, "image_seed": each.number}
        steered = {"cn_img": data_url(each.image), "cn_type": kind, "cn_stop": 1.0}
        made = client.picture({**asked, "controlnet_image": [steered]})
        free = client.picture(asked)
        with_it.append(edge_overlap(made, each.image))
        without.append(edge_overlap(free, each.image))
        _show(shown, (each.image, kind), (made, each.prompt), (free, "without"))
    better = [float(a > b) for a, b in zip(with_it, without, strict=True)]
    return Result(
        {
            "edge overlap": fmean(with_it),
            "edge overlap without": fmean(without),
            "better with it": fmean(better),
        },
        shown,
    )


def enhance(client: Client, count: int) -> Result:
    """A picture is made, then gone over twice as large: the stages' pictures, and their sizes."""
    sized, near = [], []
    shown: list[Shown] = []
    for each in map(subject, range(count)):
        first, last = client.pictures(
            {
                "prompt": each.prompt,
                "image_seed": each.number,
                "enhance_checkbox": True,
                "enhance_uov_method": "Upscale (2x)",
            }
        )
        sized.append(float(last.size == (2 * first.width, 2 * first.height)))
        near.append(psnr(first, last))
        _show(shown, (first, each.prompt), (last, "enhanced: Upscale (2x)"))
    return Result({"size exact": fmean(sized), "PSNR in dB to what was made": fmean(near)}, shown)


CHECKS: Final[Mapping[str, Callable[[Client, int], Result]]] = {
    "inpaint": inpaint,
    "outpaint": outpaint,
    "vary": vary,
    "upscale": upscale,
    "enhance": enhance,
    "image_prompt": image_prompt,
    "canny": lambda client, count: control(client, count, "PyraCanny"),
    "cpds": lambda client, count: control(client, count, "CPDS"),
}


def _show(shown: list[Shown], *row: tuple[Image.Image, str]) -> None:
    if len(shown) < 24:
        shown.extend(Shown(image, text) for image, text in row)


def _core(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """The middle of a mask, where no edge of a figure falls."""
    core = np.zeros_like(mask)
    height, width = mask.shape
    core[height * 7 // 16 : height * 9 // 16, width * 7 // 16 : width * 9 // 16] = True
    return core


def _grown(mask: Image.Image, reach: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    rows, columns = np.where(np.asarray(mask) > 127)
    far = np.zeros((mask.height, mask.width), np.bool_)
    top, left = max(0, rows.min() - reach), max(0, columns.min() - reach)
    far[top : rows.max() + reach + 1, left : columns.max() + reach + 1] = True
    return far


def _background(image: Image.Image) -> str:
    border = np.zeros((image.height, image.width), np.bool_)
    border[:16], border[-16:], border[:, :16], border[:, -16:] = True, True, True, True
    return colour_within(image, border)
