"""The table of architectures against diffusers, and its models in the model manager."""

import inspect
import os
from collections.abc import Iterable
from pathlib import Path

import diffusers
import pytest
import torch

from pipeline.files.catalog import ModelCatalog
from pipeline.files.locate import ModelFiles
from pipeline.memory.cache import Budgets
from pipeline.memory.cache_key import file_bytes
from pipeline.models.manager import ModelManager
from pipeline.request.architectures import Architecture, listed_architectures
from tests.integration.tiny_pipelines import save_pipeline


@pytest.mark.parametrize("architecture", listed_architectures(), ids=lambda each: each.name)
def test_pipelines_take_what_their_architecture_says(architecture: Architecture) -> None:
    def accepted(pipeline: str) -> Iterable[str]:
        return inspect.signature(getattr(diffusers, pipeline).__call__).parameters

    takes = set(accepted(architecture.pipeline))
    assert {"prompt", "width", "height", "num_inference_steps", "generator"} <= takes
    assert {"callback_on_step_end", "callback"} & takes
    assert architecture.guidance in takes
    assert not architecture.negative or "negative_prompt" in takes
    assert not architecture.rescale or "guidance_rescale" in takes
    if architecture.image_to_image:
        assert {"image", "strength"} <= set(accepted(architecture.image_to_image))
    if architecture.inpaint:
        assert {"image", "mask_image", "strength"} <= set(accepted(architecture.inpaint))


@pytest.mark.slow
def test_a_hundred_switches_between_five_models_keep_the_budget(tmp_path: Path) -> None:
    names = ("sd15", "flux", "sana", "pixart", "auraflow")
    checkpoints = tmp_path / "checkpoints"
    sizes = [file_bytes(save_pipeline(name, checkpoints / name)) for name in names]
    budget = 2 * max(sizes)  # two of the largest
    files = ModelFiles(ModelCatalog(tmp_path), allowed=False)
    manager = ModelManager(files, torch.device("cpu"), Budgets(budget, budget))
    used = []
    for turn in range(100):
        manager.begin_task()
        manager.diffusers_model(names[turn % len(names)])
        held = sum(sizes[names.index(each.name)] for each in manager.loaded())
        assert held <= budget, turn
        used.append(resident_bytes())
    # After two rounds of warming up, each hundred loads would show a copy that is kept.
    assert used[-1] - used[10] < 90 * min(sizes) / 2


def resident_bytes() -> int:
    """Main memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
