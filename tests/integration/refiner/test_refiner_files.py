"""Refiner files that are refused, and the published configuration."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file

from pipeline.errors import InvalidModelFile
from pipeline.models.checkpoint import SDXL_BASE, Checkpoint
from pipeline.models.refiner import SDXL_REFINER, RefinerConfigs, load_refiner
from pipeline.weights.layout import unet_prefixes
from tests.integration.refiner_files import (
    CPU,
    draw,
    make_unet,
    write_refiner_config,
    write_refiner_file,
    write_strange_file,
)
from tools.original_layout import original_names


def write_lora_file(path: Path) -> None:
    save_file({"lora_unet_mid_block.lora_up.weight": torch.zeros(1)}, path)


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (write_lora_file, r"has no UNet.*lora_unet_mid_block"),
        (write_strange_file, r"label_emb\.0\.0\.weight is 77 wide, not 2560 or 2816"),
    ],
)
def test_a_file_that_is_no_refiner_is_refused_by_name(
    tmp_path: Path, write: Callable[[Path], None], told: str
) -> None:
    path = tmp_path / "odd.safetensors"
    write(path)
    with pytest.raises(InvalidModelFile, match=told):
        load_refiner(path, CPU)


def test_a_refiner_of_another_size_is_refused(tmp_path: Path, refiner_folder: Path) -> None:
    config = json.loads((refiner_folder / "unet" / "config.json").read_bytes())
    weights = dict(make_unet(config))
    del weights["conv_out.bias"]
    path = tmp_path / "refiner.safetensors"
    write_refiner_file(path, weights, config)
    with pytest.raises(InvalidModelFile, match=r"UNet does not fit.*missing: conv_out\.bias"):
        load_refiner(path, CPU, RefinerConfigs((refiner_folder,)))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"cross_attention_dim": 64}, "reads 64 features a token, .* give 48"),
        ({"projection_class_embeddings_input_dim": 1400}, "have 1400 numbers, .* gives 32"),
    ],
)
def test_a_refiner_for_other_text_encoders_is_refused(
    tmp_path: Path, base: Checkpoint, changes: Mapping[str, int], told: str
) -> None:
    weights = make_unet(write_refiner_config(tmp_path, **changes))
    save_file(dict(weights), tmp_path / "unet" / "diffusion_pytorch_model.safetensors")
    with pytest.raises(InvalidModelFile, match=told):
        draw(base, load_refiner(tmp_path, CPU))


def test_the_configuration_of_sdxl_refiner_has_the_published_size() -> None:
    config = json.loads((SDXL_REFINER / "unet" / "config.json").read_bytes())
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(config)
    assert sum(tensor.numel() for tensor in unet.parameters()) == 2_259_526_660
    names = original_names(unet.state_dict(), unet_prefixes(config))
    assert len(set(names)) == len(names)
    assert "input_blocks.8.1.transformer_blocks.3.attn2.to_k.weight" in names
    assert "output_blocks.2.1.conv.bias" in names
    assert "output_blocks.8.2.conv.weight" in names
    assert not [name for name in names if "resnets" in name]


def test_the_base_class_is_told_by_its_published_configuration() -> None:
    widths = [
        json.loads((folder / "unet" / "config.json").read_bytes())[
            "projection_class_embeddings_input_dim"
        ]
        for folder in (SDXL_REFINER, SDXL_BASE)
    ]
    assert widths == [1280 + 5 * 256, 1280 + 6 * 256]
