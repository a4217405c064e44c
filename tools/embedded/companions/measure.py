"""What each companion does to pictures, in figures: held-out drawings, the server's own parts."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pipeline.images.preprocessors import canny_hint
from pipeline.models.manager import EMBEDDED_FOLDER
from pipeline.models.upscaler import load_upscaler
from tools.embedded.captions import Triple, examination_prompt, with_article
from tools.embedded.companions.control import CONTROL_FILES
from tools.embedded.companions.image_prompt import FILE as ADAPTER
from tools.embedded.companions.inpaint import PATCH_FILE
from tools.embedded.companions.studio import Studio
from tools.embedded.companions.upscaler import FILE as UPSCALER
from tools.embedded.companions.upscaler import HELD_BACK, as_unit, make_pairs, making_of, psnr
from tools.embedded.evaluate import examination
from tools.embedded.metrics import draw_triple, judge, shape_templates, summary
from tools.embedded.pictures import draw_example
from tools.embedded.vocabulary import COLOURS, SCOPES

Figures = dict[str, Any]
Box = tuple[int, int, int, int]

SCOPE: Final = "small"
WEIGHTS: Final = (0.0, 0.3, 0.6, 1.0)
FIRST_NUMBER: Final = 6_000_000  # pictures that nothing was trained on
NEAR: Final = 2  # pixels that an edge may be off
FIGURE_BOX: Final = (40, 40, 216, 216)
HALF_BOX: Final = (128, 0, 256, 256)


def measure_all(companions: Path, work: Path, count: int) -> Figures:
    """Figures of every companion that is there, by the names of their training steps."""
    studio = Studio(companions)
    ways: Mapping[str, tuple[str, Callable[[], Figures]]] = {
        "image-prompt": (ADAPTER, lambda: measure_image_prompt(studio, count)),
        "canny": (CONTROL_FILES["canny"], lambda: measure_control(studio, "canny", count)),
        "cpds": (CONTROL_FILES["cpds"], lambda: measure_control(studio, "cpds", count)),
        "inpaint": (PATCH_FILE, lambda: measure_inpaint(studio, count)),
        "upscaler": (UPSCALER, lambda: measure_upscaler(companions, work)),
    }
    torch.set_num_threads(1)
    return {name: way() for name, (file, way) in ways.items() if (companions / file).exists()}


def measure_image_prompt(studio: Studio, count: int) -> Figures:
    """Shares of pictures that take over a reference's colours and shape, by weight.

    Without a prompt, and with one that names another shape and no colour.
    """
    found: Figures = {}
    templates = shape_templates()
    for weight in WEIGHTS:
        silent, told = [], []
        for seed, triple, other in _references(count):
            patches = studio.shown(draw_triple(triple, FIRST_NUMBER + seed), weight)
            silent.append(judge(studio.paint("", seed, patches), triple, templates))
            wanted = triple._replace(shape=other)
            told.append(judge(studio.paint(with_article(other), seed, patches), wanted, templates))
        found[f"{weight:g}"] = {"no prompt": summary(silent), "other shape": summary(told)}
    return found


def measure_control(studio: Studio, kind: str, count: int) -> Figures:
    """How well edges agree with the hint's picture (F1, 2 pixels off at most)."""
    found: Figures = {}
    for weight in (0.0, 0.5, 1.0):
        scores: dict[str, list[float]] = {"caption": [], "no prompt": []}
        for seed in range(count):
            drawn = draw_example(FIRST_NUMBER + seed, (256, 256), SCOPES[SCOPE])
            patches = studio.hinted(kind, drawn.image, weight)
            for name, prompt in (("caption", drawn.caption), ("no prompt", "")):
                made = studio.paint(prompt, seed, patches)
                scores[name].append(edge_agreement(made, drawn.image))
        found[f"{weight:g}"] = {
            name: round(float(np.mean(each)), 3) for name, each in scores.items()
        }
    return found


def measure_inpaint(studio: Studio, count: int) -> Figures:
    """With head and patch and without: is what was asked for there, and does the picture go on?

    Asked for is the figure in another colour, the whole figure under the mask. Going on is
    painting the right half anew without a prompt: how far, in levels, it is from the left's
    picture as it was drawn.
    """
    found: Figures = {}
    for name, patched in (("without", False), ("with", True)):
        verdicts, errors = [], []
        for seed, triple, _ in _references(count):
            asked = triple._replace(colour=_next_colour(triple))
            before = draw_triple(triple, FIRST_NUMBER + seed)
            made = studio.inpaint(
                examination_prompt(asked), seed, before, _mask(FIGURE_BOX), patched=patched
            )
            verdicts.append(judge(made, asked, shape_templates()))
            completed = studio.inpaint("", seed, before, _mask(HALF_BOX), patched=patched)
            errors.append(mean_difference(completed, before, HALF_BOX))
        found[name] = {**summary(verdicts), "half_error": round(float(np.mean(errors)), 1)}
    return found


def measure_upscaler(companions: Path, work: Path) -> Figures:
    """Mean PSNR in dB on pictures that were held back, beside Lanczos's filter.

    Small pictures that went through the VAE are such as the model makes.
    """
    upscaler = load_upscaler(companions / UPSCALER)
    pairs = make_pairs(work / "pairs.npz", SCOPE, EMBEDDED_FOLDER / "vae")
    found: dict[str, dict[str, list[float]]] = {}
    for number in range(HELD_BACK):
        small, large = pairs.small[number], as_unit(pairs.large[number][None])
        kind = "decoded" if making_of(number).decoded else "clean"
        for name, made in (("network", upscaler(small)), ("lanczos", _lanczos_doubled(small))):
            score = psnr(as_unit(made[None]), large)
            found.setdefault(kind, {}).setdefault(name, []).append(score)
    return {
        kind: {name: round(float(np.mean(scores)), 2) for name, scores in ways.items()}
        for kind, ways in found.items()
    }


def edge_agreement(first: Image.Image, second: Image.Image) -> float:
    """F1 of two pictures' edges, each of which counts as found if one of the other is near."""
    edges = [np.asarray(canny_hint(each, 64, 128))[..., 0] > 60 for each in (first, second)]
    kernel = np.ones((2 * NEAR + 1, 2 * NEAR + 1), np.uint8)
    near = [cv2.dilate(each.astype(np.uint8), kernel) > 0 for each in edges]
    right = float((edges[0] & near[1]).sum()) / max(1, edges[0].sum())
    there = float((edges[1] & near[0]).sum()) / max(1, edges[1].sum())
    return float(2 * right * there / max(1e-9, right + there))


def mean_difference(first: Image.Image, second: Image.Image, box: Box) -> float:
    """In levels (0 to 255), within a box."""
    pixels = [np.asarray(each.crop(box), np.float64) for each in (first, second)]
    return float(np.mean(np.abs(pixels[0] - pixels[1])))


def _mask(box: Box) -> Image.Image:
    mask = Image.new("L", (256, 256))
    mask.paste(255, box)
    return mask


class Reference(NamedTuple):
    """A picture to draw: its number, what is on it, and a shape that is not."""

    number: int
    triple: Triple
    other_shape: str


def _references(count: int) -> Iterator[Reference]:
    shapes = SCOPES[SCOPE].shapes
    for number, triple in enumerate(examination(SCOPE, count)):
        yield Reference(number, triple, shapes[(shapes.index(triple.shape) + 3) % len(shapes)])


def _next_colour(triple: Triple) -> str:
    """A colour of neither figure nor background."""
    names = list(COLOURS)
    start = names.index(triple.colour)
    return next(
        name
        for name in (names[(start + step) % len(names)] for step in range(5, 5 + len(names)))
        if name not in {triple.colour, triple.background}
    )


def _lanczos_doubled(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    image = Image.fromarray(pixels).resize((2 * width, 2 * height), Image.Resampling.LANCZOS)
    return np.asarray(image)
