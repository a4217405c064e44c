"""Stable Diffusion 1.5 as a refiner: other latents, another scale, CLIP-L's half of the prompts."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL.Image import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from pipeline.engine.refiner_latents import split_of
from pipeline.engine.sdxl import SdxlPipeline
from pipeline.engine.start import Start
from pipeline.errors import InvalidModelFile
from pipeline.models.checkpoint import Checkpoint, load_checkpoint
from pipeline.models.interposer import load_interposer
from pipeline.models.refiner import SD15, Refiner, RefinerConfigs, load_refiner
from pipeline.request.choices import SwapMethod
from pipeline.request.plan import ImagePlan
from pipeline.sampling.latent_format import LatentFormat
from pipeline.sampling.noise import seeded_generator
from pipeline.sampling.parametrisation import (
    LatentConsistency,
    ModelSampling,
    NoisePrediction,
)
from pipeline.weights import layout
from tests.integration.tiny_sd15 import (
    make_sd15_weights,
    write_interposer,
    write_sd15_configs,
    write_sd15_file,
    write_sd15_folder,
)
from tests.integration.tiny_sdxl import make_weights, write_configs, write_folder
from tests.plans import PLAN, changed
from tools.original_layout import original_names

CPU = torch.device("cpu")
PLAN_OF_FOUR = changed(PLAN, steps=4, switch=2, refiner="r")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("base")
    write_folder(folder, make_weights(write_configs(folder)))
    return load_checkpoint(folder, CPU)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sd15")
    write_sd15_folder(path, make_sd15_weights(write_sd15_configs(path)))
    return path


@pytest.fixture(scope="module")
def refiner(folder: Path) -> Refiner:
    return load_refiner(folder, CPU)


def plan(**changes: Any) -> ImagePlan:
    return changed(PLAN_OF_FOUR, **changes)


def draw(
    base: Checkpoint, refiner: Refiner | None, start: Start | None = None, **changes: Any
) -> Image:
    pipeline = SdxlPipeline(base, refiner=refiner)
    with torch.inference_mode():
        return pipeline.make(plan(**changes), lambda _index, _guess: None, start)


def test_it_changes_the_picture_by_the_same_way_whatever_method_is_asked(
    base: Checkpoint, refiner: Refiner
) -> None:
    made = {draw(base, refiner, swap_method=each).tobytes() for each in get_args(SwapMethod)}
    assert len(made) == 1
    assert draw(base, None).tobytes() not in made


def test_without_a_step_for_it_the_picture_is_the_models_own(
    base: Checkpoint, refiner: Refiner
) -> None:
    alone = draw(base, None, switch=4)
    assert draw(base, refiner, switch=4).tobytes() == alone.tobytes()


def test_a_folder_and_a_single_file_make_the_same_picture(
    tmp_path: Path, base: Checkpoint, refiner: Refiner, folder: Path
) -> None:
    configs = write_sd15_configs(tmp_path)
    path = tmp_path / "sd15.safetensors"
    write_sd15_file(path, make_sd15_weights(configs), configs)
    from_file = load_refiner(path, CPU, RefinerConfigs(sd15=folder))
    assert draw(base, from_file).tobytes() == draw(base, refiner).tobytes()


def test_it_reads_clip_l_after_that_encoders_last_norm(base: Checkpoint) -> None:
    (context, _) = base.text.encode_one("a cat", 2)
    read = base.text.first_half(context)
    assert read.shape == (1, 77, 16)
    torch.testing.assert_close(read.mean(-1), torch.zeros(1, 77), atol=1e-5, rtol=0)
    torch.testing.assert_close(read, functional.layer_norm(context[..., :16], (16,)))


def test_through_the_picture_the_latent_is_what_its_vae_makes_of_it(
    base: Checkpoint, refiner: Refiner
) -> None:
    assert refiner.bridge is not None
    latent = torch.randn((1, 4, 8, 8), generator=seeded_generator(1))
    with torch.inference_mode():
        brought = refiner.bridge.convert(latent, base.vae, 5)
        mean, logvar = refiner.bridge.vae.moments(base.vae.decode(latent))
        noise = torch.randn(mean.shape, generator=seeded_generator(5))
    torch.testing.assert_close(brought, mean + torch.exp(0.5 * logvar) * noise)


def test_an_interposer_is_used_once_it_is_installed(
    tmp_path: Path, base: Checkpoint, folder: Path
) -> None:
    path = tmp_path / "vae_approx" / "interposer.safetensors"
    refiner = load_refiner(folder, CPU, interposer=path)
    without = draw(base, refiner)
    module = write_interposer(path)
    assert draw(base, refiner).tobytes() != without.tobytes()
    assert refiner.bridge is not None
    latent = torch.randn((1, 4, 8, 8), generator=seeded_generator(1))
    with torch.inference_mode():
        torch.testing.assert_close(refiner.bridge.convert(latent, base.vae, 5), module(latent))


def test_the_interposer_has_the_published_tensors(tmp_path: Path) -> None:
    write_interposer(tmp_path / "i.safetensors")
    tensors = load_file(tmp_path / "i.safetensors")
    assert tensors["head.short.weight"].shape == (64, 4, 3, 3)
    assert tensors["head.long.4.weight"].shape == (64, 64, 3, 3)
    assert tensors["core.1.norm.running_mean"].shape == (64,)
    assert tensors["core.12.long.4.bias"].shape == (64,)
    assert tensors["core.13.weight"].shape == (64,)
    assert tensors["tail.weight"].shape == (4, 64, 3, 3)
    floats = [tensor for tensor in tensors.values() if tensor.is_floating_point()]
    assert sum(tensor.numel() for tensor in floats) == 1_411_972 + 2 * 13 * 64


def test_an_interposer_that_does_not_fit_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "i.safetensors"
    write_interposer(path)
    tensors = load_file(path)
    del tensors["tail.bias"]
    save_file(tensors, path)
    with pytest.raises(InvalidModelFile, match=r"i\.safetensors: .*missing: tail\.bias"):
        load_interposer(path, CPU)


def test_latents_of_another_vae_have_a_scale_of_their_own(refiner: Refiner) -> None:
    latent, kinds = torch.ones(1, 4, 2, 2), {}
    for scheduler in ("karras", "lcm", "edm_playground_v2.5"):
        base = ModelSampling().under(scheduler)
        sampling = refiner.sampling_with(base, scheduler)
        kinds[scheduler] = type(sampling.parametrisation)
        torch.testing.assert_close(sampling.latents.to_model(latent), latent * 0.18215)
        back = sampling.latents.to_vae(sampling.latents.to_model(latent))
        torch.testing.assert_close(back, latent)
    assert list(kinds.values()) == [NoisePrediction, LatentConsistency, NoisePrediction]
    torch.testing.assert_close(LatentFormat().to_model(latent), latent * 0.13025)


@pytest.mark.parametrize(
    ("denoise", "switch", "turns"),
    [
        (1.0, 2, "both"),
        (1.0, 4, "base"),
        (0.91, 2, "both"),
        (0.9, 2, "base"),  # more noise than the refiner's half of the steps begins with
        (0.5, 2, "refiner"),
        (0.3, 3, "refiner"),
        (0.35, 3, "base"),
    ],
)
def test_a_picture_that_is_there_is_made_anew_by_one_of_the_two(
    denoise: float, switch: int, turns: str
) -> None:
    assert split_of(plan(denoise=denoise, switch=switch)) == turns


def test_a_refiner_alone_begins_from_the_picture_in_its_own_latents(
    base: Checkpoint, refiner: Refiner
) -> None:
    latent = torch.randn((1, 4, 8, 8), generator=seeded_generator(1))
    start = Start(64, 64, latent)
    alone = draw(base, refiner, start, denoise=0.5)
    assert alone.tobytes() != draw(base, None, start, denoise=0.5).tobytes()
    assert alone.tobytes() != draw(base, refiner, Start(64, 64, -latent), denoise=0.5).tobytes()


def without_vae(path: Path) -> None:
    tensors: dict[str, Tensor] = load_file(path)
    kept = {name: t for name, t in tensors.items() if not name.startswith(layout.VAE_PREFIX)}
    save_file(kept, path)


def nine_channels(path: Path) -> None:
    tensors: dict[str, Tensor] = load_file(path)
    tensors[f"{layout.UNET_PREFIX}input_blocks.0.0.weight"] = torch.zeros(32, 9, 3, 3)
    save_file(tensors, path)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (without_vae, r"sd15\.safetensors is no checkpoint: it has no VAE"),
        (nine_channels, r"the UNet does not fit.*conv_in\.weight is \[32, 9, 3, 3\], not"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(
    tmp_path: Path, folder: Path, spoil: Any, told: str
) -> None:
    configs = write_sd15_configs(tmp_path)
    path = tmp_path / "sd15.safetensors"
    write_sd15_file(path, make_sd15_weights(configs), configs)
    spoil(path)
    with pytest.raises(InvalidModelFile, match=told):
        load_refiner(path, CPU, RefinerConfigs(sd15=folder))


def test_one_that_reads_other_features_is_refused(tmp_path: Path, base: Checkpoint) -> None:
    configs = write_sd15_configs(tmp_path, cross_attention_dim=24)
    write_sd15_folder(tmp_path, make_sd15_weights(configs))
    with pytest.raises(InvalidModelFile, match=r"reads 24 features .* encoder gives 16"):
        draw(base, load_refiner(tmp_path, CPU))


def test_the_configuration_has_the_published_size() -> None:
    config = json.loads((SD15 / "unet" / "config.json").read_bytes())
    vae = json.loads((SD15 / "vae" / "config.json").read_bytes())
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(config)
        coder = AutoencoderKL.from_config(vae)
    assert sum(tensor.numel() for tensor in unet.parameters()) == 859_520_964
    assert sum(tensor.numel() for tensor in coder.parameters()) == 83_653_863
    names = original_names(unet.state_dict(), layout.unet_prefixes(config))
    assert len(set(names)) == len(names)
    assert "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight" in names
    assert "output_blocks.5.2.conv.weight" in names
    assert not [name for name in names if "resnets" in name]
