"""A small base model and a small refiner, in diffusers' layout."""

from pathlib import Path

import pytest
from safetensors.torch import save_file

from pipeline.models.checkpoint import Checkpoint, load_checkpoint
from pipeline.models.refiner import Refiner, load_refiner
from tests.integration.refiner_files import CPU, make_unet, write_refiner_config
from tests.integration.tiny_sdxl import make_weights, write_configs, write_folder


@pytest.fixture(scope="module")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    write_folder(folder, make_weights(write_configs(folder)))
    return folder


@pytest.fixture(scope="module")
def base(base_folder: Path) -> Checkpoint:
    return load_checkpoint(base_folder, CPU)


@pytest.fixture(scope="module")
def refiner_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("refiner")
    weights = make_unet(write_refiner_config(folder))
    save_file(dict(weights), folder / "unet" / "diffusion_pytorch_model.safetensors")
    return folder


@pytest.fixture(scope="module")
def refiner(refiner_folder: Path) -> Refiner:
    return load_refiner(refiner_folder, CPU)
