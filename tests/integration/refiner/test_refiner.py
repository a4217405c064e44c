"""Refiners in the formats that users have, in pictures of small random models."""

import json
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor

from pipeline.adapters.control import Control, Residuals
from pipeline.engine.conditioned import ImageConditions
from pipeline.engine.sdxl import SdxlPipeline
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.refiner import Refiner, RefinerConfigs, load_refiner
from pipeline.request.choices import SwapMethod
from pipeline.request.sampling import FreeU
from pipeline.sampling.denoiser import NetworkInput
from pipeline.sampling.parametrisation import NoisePrediction, VPrediction
from tests.integration.refiner_files import (
    CPU,
    PLAN_OF_FOUR,
    draw,
    make_unet,
    write_refiner_file,
)
from tests.integration.tiny_sdxl import make_weights, write_configs, write_folder, write_single_file
from tests.plans import changed


@pytest.mark.parametrize("method", get_args(SwapMethod))
def test_a_refiner_is_sampled_as_its_own_files_say(
    base: Checkpoint, refiner: Refiner, refiner_folder: Path, tmp_path: Path, method: SwapMethod
) -> None:
    (tmp_path / "unet").symlink_to(refiner_folder / "unet")
    (tmp_path / "scheduler").mkdir()
    config = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    (tmp_path / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    other = load_refiner(tmp_path, CPU)
    own = other.sampling_with(base.model_sampling, "karras")
    assert type(own.parametrisation) is VPrediction
    assert own.latents == base.model_sampling.latents
    assert type(refiner.model_sampling.parametrisation) is NoisePrediction
    assert draw(base, other, swap_method=method) != draw(base, refiner, swap_method=method)


@pytest.mark.parametrize("method", get_args(SwapMethod))
def test_a_refiner_changes_the_picture_unless_it_comes_too_late(
    base: Checkpoint, refiner: Refiner, method: SwapMethod
) -> None:
    alone = draw(base, None)
    assert draw(base, refiner, swap_method=method).tobytes() != alone.tobytes()
    late = draw(base, refiner, swap_method=method, switch=4)
    assert late.tobytes() == alone.tobytes()


def test_each_method_makes_a_picture_of_its_own(base: Checkpoint, refiner: Refiner) -> None:
    made = {draw(base, refiner, swap_method=each).tobytes() for each in get_args(SwapMethod)}
    assert len(made) == 3


def test_without_a_refiner_the_model_goes_on_from_its_own_picture(base: Checkpoint) -> None:
    joint = draw(base, None, swap_method="joint")
    assert joint.tobytes() == draw(base, None, switch=99).tobytes()
    assert draw(base, None, swap_method="vae").tobytes() != joint.tobytes()


class Watcher:
    """A control network that adds nothing, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def follow_base(self) -> None:
        """Nothing of it is the UNet's."""

    def __call__(self, _given: NetworkInput, _hint: Tensor, /) -> Residuals:
        self.asked += 1
        nothing = torch.zeros(1, 1, 1, 1)
        return Residuals((nothing,) * 9, nothing)


@pytest.mark.parametrize(("method", "asked"), [("joint", 4), ("separate", 2)])
def test_a_control_works_to_its_stop_unless_another_run_begins(
    base: Checkpoint, method: SwapMethod, asked: int
) -> None:
    network = Watcher()
    control = Control(network, torch.zeros(1, 3, 64, 64), weight=1.0, stop=1.0)
    plan = changed(PLAN_OF_FOUR, refiner="None", sampler="euler", cfg=1.0, swap_method=method)
    conditions = ImageConditions(controls=(control,))
    with torch.inference_mode():
        SdxlPipeline(base).make(plan, lambda _index, _guess: None, None, conditions)
    assert network.asked == asked


def test_the_same_request_gives_the_same_refined_picture(
    base: Checkpoint, refiner: Refiner
) -> None:
    changes = {"sampler": "dpmpp_2m_sde_gpu", "swap_method": "vae"}
    first, second = (draw(base, refiner, **changes) for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_freeu_stays_with_the_base(base: Checkpoint, refiner: Refiner) -> None:
    freeu = FreeU(1.4, 1.6, 0.6, 0.2)
    alone = {"swap_method": "separate", "switch": 0}  # the refiner's picture from the first step
    plain = draw(base, refiner, **alone)
    assert draw(base, refiner, freeu=freeu, **alone).tobytes() == plain.tobytes()
    assert draw(base, refiner, freeu=freeu).tobytes() != draw(base, refiner).tobytes()


def test_a_folder_and_a_single_file_of_the_same_refiner_make_the_same_picture(
    tmp_path: Path, base: Checkpoint, refiner: Refiner, refiner_folder: Path, base_folder: Path
) -> None:
    config = json.loads((refiner_folder / "unet" / "config.json").read_bytes())
    path = tmp_path / "refiner.safetensors"
    write_refiner_file(path, make_unet(config), config)
    from_file = load_refiner(path, CPU, RefinerConfigs((refiner_folder, base_folder)))
    assert draw(base, from_file).tobytes() == draw(base, refiner).tobytes()


def test_any_sdxl_checkpoint_refines_whatever_its_format(
    tmp_path: Path, base: Checkpoint, base_folder: Path, refiner_folder: Path
) -> None:
    configs = write_configs(tmp_path / "second")
    weights = make_weights(configs, seed=9)
    write_folder(tmp_path / "second", weights)
    write_single_file(tmp_path / "second.safetensors", weights, configs)
    from_folder = draw(base, load_refiner(tmp_path / "second", CPU))
    single = load_refiner(
        tmp_path / "second.safetensors", CPU, RefinerConfigs((refiner_folder, base_folder))
    )
    assert from_folder.tobytes() == draw(base, single).tobytes()
    assert from_folder.tobytes() != draw(base, None).tobytes()
