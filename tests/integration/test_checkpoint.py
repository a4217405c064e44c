"""Model files in the formats that users have, and those that are none."""

import json
import pickle
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import ImageChops
from PIL.Image import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from pipeline.engine.sdxl import SdxlPipeline
from pipeline.errors import InvalidModelFile
from pipeline.models.checkpoint import (
    SDXL_BASE,
    Checkpoint,
    Configs,
    load_checkpoint,
    read_configs,
)
from pipeline.weights import layout
from pipeline.weights.layout import unet_prefixes, vae_prefixes
from tests.integration.tiny_sdxl import make_weights, write_configs, write_folder, write_single_file
from tests.plans import PLAN
from tools.original_layout import original_names

CPU = torch.device("cpu")
Weights = Mapping[str, Mapping[str, Tensor]]


@pytest.fixture(scope="module")
def configs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("configs")
    write_configs(folder)
    return folder


@pytest.fixture
def configs(configs_folder: Path) -> Configs:
    return write_configs(configs_folder)


@pytest.fixture(scope="module")
def weights(configs_folder: Path) -> Weights:
    return make_weights(write_configs(configs_folder))


@pytest.fixture
def single_file(tmp_path: Path, weights: Weights, configs: Configs) -> Path:
    path = tmp_path / "tiny.safetensors"
    write_single_file(path, weights, configs)
    return path


def draw(checkpoint: Checkpoint) -> Image:
    with torch.inference_mode():
        return SdxlPipeline(checkpoint).make(PLAN, lambda _index, _guess: None)


def test_a_folder_and_a_single_file_of_the_same_weights_make_the_same_picture(
    tmp_path: Path, weights: Weights, configs_folder: Path, single_file: Path
) -> None:
    write_configs(tmp_path / "folder")
    write_folder(tmp_path / "folder", weights)
    from_folder = draw(load_checkpoint(tmp_path / "folder", CPU))
    from_file = draw(load_checkpoint(single_file, CPU, single_file_configs=configs_folder))
    assert from_folder.size == (64, 64)
    assert len(set(from_folder.tobytes())) > 10  # a picture, not one colour
    assert ImageChops.difference(from_folder, from_file).getbbox() is None


def test_a_folder_with_only_the_fp16_variant_is_read(tmp_path: Path, weights: Weights) -> None:
    write_configs(tmp_path)
    halved = {
        part: {name: tensor.half() for name, tensor in tensors.items()}
        for part, tensors in weights.items()
    }
    write_folder(tmp_path, halved, variant=".fp16")
    checkpoint = load_checkpoint(tmp_path, CPU)
    assert next(checkpoint.unet.module.parameters()).dtype == torch.float32
    assert draw(checkpoint).size == (64, 64)


def test_a_file_that_is_written_over_changes_no_loaded_model(
    single_file: Path, configs_folder: Path
) -> None:
    checkpoint = load_checkpoint(single_file, CPU, single_file_configs=configs_folder)
    before = draw(checkpoint)
    with single_file.open("r+b") as file:
        file.seek(single_file.stat().st_size // 2)
        file.write(bytes(single_file.stat().st_size // 4))
    assert draw(checkpoint).tobytes() == before.tobytes()
    single_file.write_bytes(b"")  # views of the file would take the process down
    assert draw(checkpoint).tobytes() == before.tobytes()


def test_float32_weights_are_kept_once(single_file: Path, configs_folder: Path) -> None:
    checkpoint = load_checkpoint(single_file, CPU, single_file_configs=configs_folder)
    for weight in checkpoint.unet.module.parameters():
        assert weight.untyped_storage().nbytes() <= 2 * weight.numel() * weight.element_size()


def test_text_encoders_saved_under_either_naming_are_read(tmp_path: Path, weights: Weights) -> None:
    write_configs(tmp_path)
    outer = {f"text_model.{name}": tensor for name, tensor in weights["text_encoder"].items()}
    write_folder(tmp_path, {**weights, "text_encoder": outer})
    assert draw(load_checkpoint(tmp_path, CPU)).size == (64, 64)


def test_a_file_cut_short_is_refused(single_file: Path, configs_folder: Path) -> None:
    data = single_file.read_bytes()
    single_file.write_bytes(data[: len(data) // 2])
    with pytest.raises(InvalidModelFile, match=r"tiny\.safetensors is no whole safetensors file"):
        load_checkpoint(single_file, CPU, single_file_configs=configs_folder)


def test_a_pickle_is_refused_whatever_its_name_says(tmp_path: Path, configs_folder: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(InvalidModelFile, match="pickle"):
        load_checkpoint(path, CPU, single_file_configs=configs_folder)


def test_a_file_of_another_kind_is_refused_by_name(tmp_path: Path, configs_folder: Path) -> None:
    path = tmp_path / "lora.safetensors"
    save_file({"lora_unet_mid_block.lora_up.weight": torch.zeros(1)}, path)
    with pytest.raises(InvalidModelFile, match=r"no UNet.*lora_unet_mid_block"):
        load_checkpoint(path, CPU, single_file_configs=configs_folder)


def test_a_refusal_names_the_tensors_that_do_not_fit(
    single_file: Path, configs_folder: Path
) -> None:
    tensors = load_file(single_file)
    prefix = "model.diffusion_model."
    del tensors[f"{prefix}out.2.bias"]
    tensors[f"{prefix}input_blocks.0.0.weight"] = torch.zeros(32, 7, 3, 3)
    tensors[f"{prefix}extra.weight"] = torch.zeros(1)
    save_file(tensors, single_file)
    with pytest.raises(InvalidModelFile) as refused:
        load_checkpoint(single_file, CPU, single_file_configs=configs_folder)
    told = str(refused.value)
    assert "1 missing: conv_out.bias" in told
    assert "1 unknown: extra.weight" in told
    assert "conv_in.weight is [32, 7, 3, 3], not [32, 4, 3, 3]" in told


def test_a_checkpoint_of_another_size_than_sdxl_is_refused(single_file: Path) -> None:
    with pytest.raises(InvalidModelFile, match="the UNet does not fit"):
        load_checkpoint(single_file, CPU)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "text_encoder_2"])
def test_a_folder_without_one_part_is_refused(tmp_path: Path, weights: Weights, part: str) -> None:
    write_configs(tmp_path)
    write_folder(tmp_path, weights)
    (tmp_path / part / "config.json").unlink()
    with pytest.raises(InvalidModelFile, match=part):
        load_checkpoint(tmp_path, CPU)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    write_configs(tmp_path)
    with pytest.raises(InvalidModelFile, match="holds no safetensors file"):
        load_checkpoint(tmp_path, CPU)


def test_a_broken_configuration_is_refused(tmp_path: Path, weights: Weights) -> None:
    write_configs(tmp_path)
    write_folder(tmp_path, weights)
    (tmp_path / "vae" / "config.json").write_text("[]")
    with pytest.raises(InvalidModelFile, match="JSON object"):
        load_checkpoint(tmp_path, CPU)


UNUSED: Mapping[str, Mapping[str, Tensor]] = {
    "CLIP-L's projection": {
        "conditioner.embedders.0.transformer.text_projection.weight": torch.eye(16)
    },
    "a VAE's loss": {"first_stage_model.loss.logvar": torch.zeros(1)},
    "moving averages": {
        "model_ema.diffusion_modelout2bias": torch.zeros(4),
        "first_stage_model.model_ema.decay": torch.tensor(0.9),
        "first_stage_model.model_ema.num_updates": torch.tensor(1),
        "model.diffusion_model.ema.out.2.bias": torch.zeros(4),
    },
    "a second text encoder's extra": {"conditioner.embedders.1.model.visual.proj": torch.ones(2)},
}


@pytest.mark.parametrize("kind", UNUSED)
def test_tensors_that_no_module_uses_are_left_out(
    single_file: Path, configs_folder: Path, tmp_path: Path, kind: str
) -> None:
    merged = tmp_path / "merged.safetensors"
    save_file({**load_file(single_file), **UNUSED[kind]}, merged)
    plain, made = (
        draw(load_checkpoint(path, CPU, single_file_configs=configs_folder))
        for path in (single_file, merged)
    )
    assert ImageChops.difference(plain, made).getbbox() is None


def test_a_folder_may_hold_older_names_and_unused_tensors(
    tmp_path: Path, weights: Weights, configs_folder: Path, single_file: Path
) -> None:
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    vae = {}
    for name, tensor in weights["vae"].items():
        renamed = name
        for new, before in old.items() if ".attentions." in name else ():
            renamed = renamed.replace(f".{new}.", f".{before}.")
        vae[renamed] = tensor
    clip_l = {**weights["text_encoder"], "text_projection.weight": torch.eye(16)}
    write_configs(tmp_path / "folder")
    write_folder(tmp_path / "folder", {**weights, "vae": vae, "text_encoder": clip_l})
    made = draw(load_checkpoint(tmp_path / "folder", CPU))
    plain = draw(load_checkpoint(single_file, CPU, single_file_configs=configs_folder))
    assert ImageChops.difference(plain, made).getbbox() is None


def test_a_checkpoint_without_a_vae_loads_and_says_what_to_name(
    single_file: Path, configs_folder: Path
) -> None:
    tensors = load_file(single_file)
    kept = {name: t for name, t in tensors.items() if not name.startswith(layout.VAE_PREFIX)}
    save_file(kept, single_file)
    checkpoint = load_checkpoint(single_file, CPU, single_file_configs=configs_folder)
    assert checkpoint.own_vae is None
    with pytest.raises(InvalidModelFile, match=r"tiny\.safetensors holds no VAE.*vae_name"):
        _ = checkpoint.vae


# Published models that leave layers of SDXL out, in small: depths on the way down and up.
DISTILLED: Mapping[str, Mapping[str, object]] = {
    "SSD-1B": {
        "mid_block_type": "UNetMidBlock2D",
        "transformer_layers_per_block": [1, [1, 1], [2, 2]],
        "reverse_transformer_layers_per_block": [[2, 2, 3], [2, 1, 1], 1],
    },
    "Segmind Vega": {
        "mid_block_type": "UNetMidBlock2D",
        "transformer_layers_per_block": [1, 1, 2],
        "reverse_transformer_layers_per_block": [2, 1, 1],
    },
    "KOALA-1B": {"layers_per_block": 1, "transformer_layers_per_block": [1, 2, 3]},
    "KOALA-700M": {
        "layers_per_block": 1,
        "mid_block_type": None,
        "transformer_layers_per_block": [1, 2, 1],
    },
}


@pytest.mark.parametrize("model", DISTILLED)
def test_a_distilled_model_loads_from_a_single_file_as_from_its_folder(
    tmp_path: Path, configs_folder: Path, model: str
) -> None:
    folder = tmp_path / "folder"
    write_configs(folder)
    config = folder / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_bytes()) | dict(DISTILLED[model])))
    configs = read_configs(folder)
    weights = make_weights(configs)
    write_folder(folder, weights)
    write_single_file(tmp_path / "one.safetensors", weights, configs)
    from_folder = draw(load_checkpoint(folder, CPU))
    one = load_checkpoint(tmp_path / "one.safetensors", CPU, single_file_configs=configs_folder)
    assert len(one.unet.module.state_dict()) == len(weights["unet"])
    assert ImageChops.difference(from_folder, draw(one)).getbbox() is None


def scaled(tensors: Mapping[str, Tensor], kind: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A file's tensors with the UNet's matrices quantised, and those that they stand for."""
    quantised, meant = dict(tensors), dict(tensors)
    for name, weight in tensors.items():
        if not name.startswith(layout.UNET_PREFIX) or weight.ndim != 2 or "attn" not in name:
            continue
        layer = name.removesuffix(".weight")
        sides = {"row": (weight.shape[0], -1), "block": (weight.shape[0], 2, -1)}.get(kind, (1, -1))
        blocks = weight.reshape(sides)
        scale = blocks.abs().amax(-1, keepdim=True) / 100
        levels = (blocks / scale).to(torch.float8_e4m3fn)
        meant[name] = (levels.float() * scale).reshape(weight.shape)
        quantised[name] = levels.reshape(weight.shape)
        quantised[f"{layer}.{'scale_weight' if kind == 'whole' else 'weight_scale'}"] = (
            scale.reshape(()) if kind == "whole" else scale
        )
        if kind == "whole":
            quantised[f"{layer}.scale_input"] = torch.tensor(1.0)
            quantised[f"{layout.UNET_PREFIX}scaled_fp8"] = torch.zeros(0)
        else:
            told = json.dumps({"format": "float8_e4m3fn"}).encode()
            quantised[f"{layer}.comfy_quant"] = torch.tensor(list(told), dtype=torch.uint8)
    return quantised, meant


@pytest.mark.parametrize("kind", ["whole", "row", "block"])
def test_quantised_weights_are_multiplied_by_their_scales(
    single_file: Path, configs_folder: Path, tmp_path: Path, kind: str
) -> None:
    quantised, meant = scaled(load_file(single_file), kind)
    pictures = []
    for name, tensors in (("quantised", quantised), ("meant", meant)):
        path = tmp_path / f"{name}.safetensors"
        save_file(tensors, path)
        checkpoint = load_checkpoint(path, CPU, single_file_configs=configs_folder)
        pictures.append((checkpoint.unet.module.state_dict(), draw(checkpoint)))
    (one, first), (other, second) = pictures
    assert all(torch.equal(one[name], other[name]) for name in other)
    assert ImageChops.difference(first, second).getbbox() is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"scale_weight": torch.ones(3)}, r"scale_weight is \[3\]"),
        ({"comfy_quant": torch.tensor(list(b'{"format": "nvfp4"}'))}, "nvfp4"),
        ({"comfy_quant": torch.tensor(list(b'{"format": "int8_tensorwise", "convrot": 1}'))}, ""),
        ({"comfy_quant": torch.tensor([1, 2])}, "no JSON"),
    ],
)
def test_a_quantisation_that_is_not_known_is_refused(
    single_file: Path, configs_folder: Path, change: Mapping[str, Tensor], told: str
) -> None:
    layer = f"{layout.UNET_PREFIX}input_blocks.4.1.proj_in"
    more = {f"{layer}.{name}": tensor for name, tensor in change.items()}
    save_file({**load_file(single_file), **more}, single_file)
    with pytest.raises(InvalidModelFile, match=f"UNet.*{told}"):
        load_checkpoint(single_file, CPU, single_file_configs=configs_folder)


def test_the_configurations_of_sdxl_base_have_the_published_sizes() -> None:
    sdxl = read_configs(SDXL_BASE)
    with torch.device("meta"):
        modules = (
            UNet2DConditionModel.from_config(sdxl.unet),
            AutoencoderKL.from_config(sdxl.vae),
            CLIPTextModel(CLIPTextConfig(**sdxl.clip_l)),
            CLIPTextModelWithProjection(CLIPTextConfig(**sdxl.clip_g)),
        )
    sizes = [sum(tensor.numel() for tensor in module.parameters()) for module in modules]
    assert sizes == [2_567_463_684, 83_653_863, 123_060_480, 694_659_840]


def test_every_tensor_of_sdxl_base_has_a_name_of_its_own_in_the_original_layout() -> None:
    sdxl = read_configs(SDXL_BASE)
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(sdxl.unet).state_dict()
        vae = AutoencoderKL.from_config(sdxl.vae).state_dict()
    original = {
        *(layout.UNET_PREFIX + name for name in original_names(unet, unet_prefixes(sdxl.unet))),
        *(layout.VAE_PREFIX + name for name in original_names(vae, vae_prefixes(sdxl.vae))),
    }
    assert len(original) == len(unet) + len(vae)
    prefix = layout.UNET_PREFIX
    assert f"{prefix}input_blocks.8.1.transformer_blocks.9.attn2.to_k.weight" in original
    assert f"{prefix}output_blocks.5.2.conv.bias" in original
    assert f"{prefix}label_emb.0.2.weight" in original
    assert f"{layout.VAE_PREFIX}decoder.up.0.block.0.nin_shortcut.weight" in original
    assert not [name for name in original if "resnets" in name]
