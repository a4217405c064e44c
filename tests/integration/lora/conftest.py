"""A small checkpoint whose weights every test must leave as it found them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pipeline.models.checkpoint import Checkpoint, load_checkpoint
from pipeline.weights.lora_names import LoraModules
from tests.integration.lora_layouts import CPU, weights_of
from tests.integration.tiny_sdxl import make_weights, write_configs, write_folder


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with the checkpoint ``tiny``."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "loras").mkdir()
    configs = write_configs(folder / "checkpoints" / "tiny")
    write_folder(folder / "checkpoints" / "tiny", make_weights(configs))
    return folder


@pytest.fixture(scope="module")
def checkpoint(models_dir: Path) -> Checkpoint:
    return load_checkpoint(models_dir / "checkpoints" / "tiny", CPU)


@pytest.fixture
def modules(checkpoint: Checkpoint) -> Iterator[LoraModules]:
    """The model's parts; every test must leave them as it found them, bit for bit."""
    modules = checkpoint.loras._modules
    before = weights_of(modules)
    kept = {name: tensor.clone() for name, tensor in before.items()}
    yield modules
    checkpoint.loras.remove()
    after = weights_of(modules)
    assert all(torch.equal(after[name], tensor) for name, tensor in kept.items())
    assert all(after[name].data_ptr() == tensor.data_ptr() for name, tensor in before.items())
