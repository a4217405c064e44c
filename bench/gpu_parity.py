"""Do all samplers and schedules make on a device what they make on the CPU?

The embedded model at half its size, the same noise on both (``cpu_noise``); the device works in
float16, the CPU in float32.
"""

from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import torch
from torch import Tensor

from pipeline.engine.sdxl import SdxlPipeline
from pipeline.files.library import open_library
from pipeline.models.checkpoint import load_checkpoint
from pipeline.models.manager import EMBEDDED_FOLDER
from pipeline.request.choices import EMBEDDED, SAMPLER_NAMES, SCHEDULER_NAMES
from pipeline.request.decode import params_from
from pipeline.request.plan import ImagePlan, plan_images
from pipeline.request.prompts import PromptSources
from pipeline.request.resolved import resolve_params
from pipeline.request.sizes import ImageSize
from pipeline.sampling.batch import Batch
from tools.server_process import ROOT

SIDE: Final = 128
STEPS: Final = 4
SEEDS: Final = (1, 2)
FEW: Final = 2  # samplers and schedules of a toy run

# Relative, of latents. Three samplers with every schedule in float16 on a CPU: at most 1.5e-2.
LARGEST: Final = 0.05


class Compared(NamedTuple):
    """One sampler with one schedule: how far its latents are apart, relative."""

    sampler: str
    scheduler: str
    apart: float

    @property
    def is_well(self) -> bool:
        """Whether that is rounding."""
        return self.apart <= LARGEST


def compare_samplers(device: torch.device, *, few: bool = False) -> list[Compared]:
    """Print the worst of all pairs, and every one that is not well."""
    samplers, schedulers = SAMPLER_NAMES, SCHEDULER_NAMES
    if few:
        samplers, schedulers = samplers[:FEW], schedulers[:FEW]
    here, there = _pipeline(torch.device("cpu")), _pipeline(device)
    made = []
    for sampler in samplers:
        for scheduler in schedulers:
            plans = _plans(sampler, scheduler)
            expected, found = _latents(here, plans), _latents(there, plans)
            apart = float((found - expected).norm() / expected.norm())
            made.append(Compared(sampler, scheduler, apart))
    wrong = [each for each in made if not each.is_well]  # a NaN is not well
    worst = max(made, key=lambda each: each.apart)
    print(
        f"{len(made)} samplers x schedules: {len(wrong)} unlike the CPU's; the farthest is"
        f" {worst.sampler}, {worst.scheduler}: {worst.apart:.1e}"
    )
    for each in wrong:
        print(f"  {each.sampler}, {each.scheduler}: {each.apart:.2e}")
    return made


def _pipeline(device: torch.device) -> SdxlPipeline:
    return SdxlPipeline(load_checkpoint(EMBEDDED_FOLDER, device), cpu_noise=True)


def _plans(sampler: str, scheduler: str) -> list[ImagePlan]:
    library = open_library(ROOT, Path("models"), EMBEDDED, downloads=False)
    asked = {
        "prompt": "a red star on a blue background",
        "sampler_name": sampler,
        "scheduler_name": scheduler,
        "overwrite_step": STEPS,
    }
    params = library.presets.apply(params_from(asked), frozenset(asked))
    sources = PromptSources(library.styles, library.wildcards)
    (plan,) = plan_images(resolve_params(params), sources)
    plan = msgspec.structs.replace(plan, size=ImageSize.same(SIDE, SIDE))
    return [
        msgspec.structs.replace(plan, sampling=msgspec.structs.replace(plan.sampling, seed=seed))
        for seed in SEEDS
    ]


def _latents(pipeline: SdxlPipeline, plans: list[ImagePlan]) -> Tensor:
    with torch.inference_mode():
        batch = Batch([lambda _index, _guess: None] * len(plans))
        return pipeline.text_to_latents(plans, batch).float().cpu()
