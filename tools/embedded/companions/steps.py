"""One step for each companion: train it, going on from its checkpoint, and write its files."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch

from pipeline.models.manager import EMBEDDED_FOLDER
from pipeline.models.rrdb import Network
from tools.embedded.companions.base import Base
from tools.embedded.companions.control import (
    CONTROL_FILES,
    ControlLora,
    ControlLoss,
    build_network,
    export_control,
)
from tools.embedded.companions.image_prompt import (
    ImagePrompt,
    Lessons,
    export_image_prompt,
)
from tools.embedded.companions.inpaint import Inpaint, InpaintLoss, export_inpaint
from tools.embedded.companions.pictures import hint_sets, load_sets
from tools.embedded.companions.training import Draws, Plan, Trained, fit
from tools.embedded.companions.upscaler import (
    HELD_BACK,
    Pairs,
    UpscalerLoss,
    build_upscaler,
    export_upscaler,
    make_pairs,
)

log = logging.getLogger(__name__)

FOLDER: Final = EMBEDDED_FOLDER.parent / "companions"
WORK: Final = "companions"  # below the folder that the model is trained in
SETS: Final = "sets"

# Where things are is much the same to learn from edges and from structure.
BEGINS_FROM: Final = {"cpds": "canny"}


class Recipe(NamedTuple):
    """What a companion was trained with."""

    steps: int
    batch: int
    rate: float


RECIPES: Final[Mapping[str, Recipe]] = {
    "image-prompt": Recipe(1800, 16, 1e-3),
    "canny": Recipe(800, 8, 1e-3),
    "inpaint": Recipe(1300, 16, 5e-4),
    "upscaler": Recipe(900, 12, 1e-3),
    "cpds": Recipe(300, 8, 1e-3),
}


def train_image_prompt(work: Path) -> Trained[ImagePrompt]:
    base, draws = _prepare(work)
    learner = ImagePrompt(base)
    trained = fit(learner, Lessons(base, draws, learner), _plan("image-prompt", work))
    export_image_prompt(trained.average, FOLDER)
    return trained


def train_canny(work: Path) -> Trained[ControlLora]:
    return _train_control("canny", work)


def train_cpds(work: Path) -> Trained[ControlLora]:
    return _train_control("cpds", work)


def train_inpaint(work: Path) -> Trained[Inpaint]:
    base, draws = _prepare(work)
    learner = Inpaint(base)
    trained = fit(learner, InpaintLoss(base, draws, learner), _plan("inpaint", work))
    export_inpaint(trained.average, base, FOLDER)
    return trained


def train_upscaler(work: Path) -> Trained[Network]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    pairs = make_pairs(work / "pairs.npz", "small", EMBEDDED_FOLDER / "vae")
    learner = build_upscaler()
    seen = Pairs(*(part[HELD_BACK:] for part in pairs))
    trained = fit(learner, UpscalerLoss(seen, learner), _plan("upscaler", work))
    export_upscaler(trained.average, FOLDER)
    return trained


def _train_control(kind: str, work: Path) -> Trained[ControlLora]:
    hint_sets(work / SETS, kind)
    base, draws = _prepare(work)
    network = build_network(base)
    learner = ControlLora(network)
    begun = work / f"{BEGINS_FROM.get(kind)}.pt"
    if begun.exists():
        learner.load_state_dict(torch.load(begun, map_location="cpu")["e"])
    loss = ControlLoss(base, draws, network, learner, kind)
    trained = fit(learner, loss, _plan(kind, work))
    export_control(trained.average, base.unet.config, FOLDER / CONTROL_FILES[kind])
    return trained


def _prepare(work: Path) -> tuple[Base, Draws]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    base = Base(EMBEDDED_FOLDER)
    return base, Draws(base, load_sets(work / SETS, base.tokenizers))


def _plan(name: str, work: Path) -> Plan:
    recipe = RECIPES[name]
    return Plan(work / f"{name}.pt", recipe.steps, recipe.batch, recipe.rate)


TRAIN: Final[Mapping[str, Callable[[Path], Trained[Any]]]] = {
    "image-prompt": train_image_prompt,
    "canny": train_canny,
    "inpaint": train_inpaint,
    "upscaler": train_upscaler,
    "cpds": train_cpds,
}
