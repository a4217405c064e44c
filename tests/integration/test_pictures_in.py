"""Painting in with a whole small model: the engine's files in their real format, and a picture."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from pipeline.adapters.inpaint_head import load_inpaint_head
from pipeline.engine.start import InitialLatents, Start
from pipeline.models.checkpoint import Checkpoint, Configs, load_checkpoint
from pipeline.request.goals import Inpaint, Upscale, Vary, denoise_of
from pipeline.request.sampling import Guidance, SamplingSettings
from pipeline.sampling.adm import SdxlSizes
from pipeline.sampling.denoiser import Conditioning, Denoiser
from pipeline.sampling.inpainting import feature_added
from pipeline.sampling.latent_format import LatentFormat
from pipeline.sampling.noise import ImageNoise
from pipeline.sampling.parametrisation import ModelSampling
from pipeline.sampling.refiner import RefinerSwap, sample_with_refiner
from pipeline.weights import layout
from pipeline.weights.lora import ChosenLora
from tests.integration.tiny_sdxl import make_weights, write_configs, write_folder
from tools.original_layout import original_names

CPU = torch.device("cpu")
STEPS = 2
SIDE = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Configs]:
    folder = tmp_path_factory.mktemp("tiny")
    configs = write_configs(folder)
    write_folder(folder, make_weights(configs))
    return folder, configs


@pytest.fixture
def checkpoint(folder: tuple[Path, Configs]) -> Checkpoint:
    return load_checkpoint(folder[0], CPU)


def write_patch(path: Path, configs: Configs, unet: dict[str, Tensor]) -> dict[str, Tensor]:
    """An engine's file: for each weight 256 levels between two numbers, which are half precision.

    Returns what it adds to each weight under diffusers' names.
    """
    torch.manual_seed(2)
    originals = original_names(unet, layout.unet_prefixes(configs.unet))
    patch, added = {}, {}
    for name, original in zip(unet, originals, strict=True):
        levels = torch.randint(0, 256, unet[name].shape, dtype=torch.uint8)
        low, high = torch.tensor(-0.01).half(), torch.tensor(0.02).half()
        patch[f"diffusion_model.{original}"] = (levels, low, high)
        added[name] = levels.float() / 255.0 * (high.float() - low.float()) + low.float()
    torch.save(patch, path)
    return added


@torch.inference_mode()
def run(checkpoint: Checkpoint, start: Start, feature: Tensor | None = None) -> Tensor:
    """A run from a start to the VAE's pixels (1, 3, H, W)."""
    prompt = Conditioning(torch.zeros(1, 77, 48), torch.zeros(1, 32))
    guidance = Guidance(cfg=1.0)
    denoiser = Denoiser(
        unet=checkpoint.unet,
        model_sampling=ModelSampling(),
        positive=prompt,
        negative=prompt,
        guidance=guidance,
        sizes=SdxlSizes(start.width, start.height, guidance),
    )
    inpainting = start.inpaint.inpainting if start.inpaint else None
    swap = RefinerSwap(denoiser, denoiser, STEPS, "joint", inpainting)
    walk = SamplingSettings(
        sampler="euler", scheduler="karras", steps=STEPS, seed=1, denoise=start.denoise
    )
    shape = (1, 4, start.height // 8, start.width // 8)
    with feature_added(checkpoint.unet.module, feature):
        latent = sample_with_refiner(
            swap, walk, ImageNoise(1, shape), lambda *_: None, start.latent
        )
    return checkpoint.vae.decode_tiled(latent) if start.tiled else checkpoint.vae.decode(latent)


def as_image(pixels: Tensor) -> Image.Image:
    return Image.fromarray((pixels[0] * 255).to(torch.uint8).permute(1, 2, 0).numpy())


def make_image(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))


def make_mask(width: int, height: int) -> Image.Image:
    mask = Image.new("L", (width, height))
    mask.paste(255, (0, 0, width // 4, height // 4))
    return mask


@torch.inference_mode()
def test_every_weight_takes_its_part_of_an_engines_patch_and_loses_it_again(
    checkpoint: Checkpoint, folder: tuple[Path, Configs], tmp_path: Path
) -> None:
    unet = checkpoint.unet.module
    before = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    path = tmp_path / "inpaint_v26.fooocus.patch"
    added = write_patch(path, folder[1], before)
    (fit,) = checkpoint.loras.use([ChosenLora(path.name, path, 1.0)])
    assert (fit.changes, fit.faults) == (len(before), ())
    for name, tensor in unet.state_dict().items():
        torch.testing.assert_close(tensor, before[name] + added[name])
    checkpoint.loras.remove()
    for name, tensor in unet.state_dict().items():
        assert torch.equal(tensor, before[name])


@torch.inference_mode()
def test_a_picture_is_painted_in_by_a_model_with_a_head(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    torch.manual_seed(3)
    channels = checkpoint.unet.module.conv_in.out_channels
    torch.save({"head": torch.randn(channels, 5, 3, 3) * 0.2}, tmp_path / "head.pth")
    image, mask = make_image(200, 150), make_mask(200, 150)
    goal = Inpaint(engine="v2.6", field=0.3)
    start = InitialLatents(checkpoint.vae, 1, SIDE).inpaint(goal, image, mask)
    assert start.inpaint is not None
    assert start.inpaint.surroundings is not None
    head = load_inpaint_head(tmp_path / "head.pth")
    feature = head.feature(start.inpaint.surroundings, LatentFormat())
    with_head, without = run(checkpoint, start, feature), run(checkpoint, start)
    assert not torch.equal(with_head, without)
    assert torch.equal(run(checkpoint, start), without)  # nothing of the head stayed
    whole = start.inpaint.paste(as_image(with_head))
    assert whole.size == image.size
    outside = start.inpaint.area.soft_mask == 0
    assert outside.mean() > 0.3
    np.testing.assert_array_equal(np.asarray(whole)[outside], np.asarray(image)[outside])
    inside = np.asarray(mask) == 255
    assert (np.asarray(whole)[inside] != np.asarray(image)[inside]).mean() > 0.9


@torch.inference_mode()
def test_the_less_is_denoised_the_nearer_a_varied_picture_is_to_the_first(
    checkpoint: Checkpoint,
) -> None:
    image, latents = make_image(SIDE, SIDE), InitialLatents(checkpoint.vae, 1, SIDE)
    kept = checkpoint.vae.decode(latents.vary(Vary(1.0), image).latent)  # type: ignore[arg-type]
    distances = [
        float((run(checkpoint, latents.vary(Vary(denoise), image)) - kept).square().mean())
        for denoise in (0.1, 0.5, 1.0)
    ]
    assert distances[0] < distances[1] < distances[2]


@torch.inference_mode()
def test_an_upscaled_picture_is_gone_over_at_its_new_size(checkpoint: Checkpoint) -> None:
    goal = Upscale(1.5, fast=False, denoise=0.4)
    start = InitialLatents(checkpoint.vae, 1, SIDE).upscale(goal, make_image(72, 64))
    assert (start.denoise, start.tiled) == (denoise_of(goal), True)
    assert run(checkpoint, start).shape == (1, 3, 96, 104)  # 108 holds 13 whole cells
