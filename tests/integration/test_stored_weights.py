"""Models that stay in their file's number format because float32 would not fit the machine."""

from pathlib import Path

import pytest
import torch
from PIL.Image import Image
from safetensors.torch import save_file
from torch import nn

from pipeline.engine.sdxl import SdxlPipeline
from pipeline.models.checkpoint import Checkpoint, load_checkpoint
from pipeline.weights.casting import cast_at_use, working_dtype
from pipeline.weights.lora import ChosenLora
from tests.integration.tiny_sdxl import make_weights, write_configs, write_single_file
from tests.plans import PLAN

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A single float16 file of a small SDXL, and the configurations that go with it."""
    path = tmp_path_factory.mktemp("half")
    configs = write_configs(path)
    weights = {
        part: {name: tensor.half() for name, tensor in tensors.items()}
        for part, tensors in make_weights(configs).items()
    }
    write_single_file(path / "half.safetensors", weights, configs)
    return path


def load(folder: Path) -> Checkpoint:
    return load_checkpoint(folder / "half.safetensors", CPU, single_file_configs=folder)


@pytest.fixture
def cramped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which nothing fits in float32."""
    monkeypatch.setattr("pipeline.memory.device.memory_bytes", lambda: 1)


def draw(checkpoint: Checkpoint) -> Image:
    with torch.inference_mode():
        return SdxlPipeline(checkpoint).make(PLAN, lambda _index, _guess: None)


@pytest.mark.usefixtures("cramped")
def test_the_weights_stay_float16_and_the_work_is_float32(folder: Path) -> None:
    checkpoint = load(folder)
    for module in checkpoint.parts:
        assert {parameter.dtype for parameter in module.parameters()} == {torch.float16}
        assert working_dtype(module) == torch.float32


def test_the_picture_is_the_one_of_float32_weights(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load(folder)
    assert whole.unet.module.dtype == torch.float32
    expected = draw(whole).tobytes()
    monkeypatch.setattr("pipeline.memory.device.memory_bytes", lambda: 1)
    assert draw(load(folder)).tobytes() == expected


@pytest.mark.usefixtures("cramped")
def test_loras_go_in_and_out(folder: Path, tmp_path: Path) -> None:
    module = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
    torch.manual_seed(3)
    tensors = {
        f"{module}.lora_up.weight": torch.randn(64, 4),
        f"{module}.lora_down.weight": torch.randn(4, 48),
    }
    save_file(tensors, tmp_path / "l.safetensors")
    checkpoint = load(folder)
    plain = draw(checkpoint).tobytes()
    checkpoint.loras.use([ChosenLora("l", tmp_path / "l.safetensors", 1.0)])
    assert draw(checkpoint).tobytes() != plain
    checkpoint.loras.use([])
    assert draw(checkpoint).tobytes() == plain


class Scaled(nn.Module):
    """A layer of no kind that casts."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((2,), 3.0).half(), requires_grad=False)
        self.inner = nn.Linear(2, 2).half()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.inner(x) * self.scale
        return y


def test_a_layer_that_cannot_cast_is_cast_for_good() -> None:
    module = Scaled()
    cast_at_use(module, torch.float32)
    assert module.scale.dtype == torch.float32
    assert module.inner.weight.dtype == torch.float16
    assert module(torch.ones(1, 2)).dtype == torch.float32
