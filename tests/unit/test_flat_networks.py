"""SDXL's networks as functions of plain tensors: the same bits as diffusers' own forward."""

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor

from pipeline.models.flat_networks import (
    FlatDecoder,
    FlatUNet,
    LatentShape,
    fits,
    in_chunks,
    is_flat,
    residual_shapes,
    unet_inputs,
)
from pipeline.models.openvino_networks import psnr
from pipeline.models.unet import UNet
from pipeline.sampling.denoiser import NetworkInput

LATENT = LatentShape(8, 12)


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    torch.manual_seed(4)
    module = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64, 64),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=2,
        cross_attention_dim=16,
        attention_head_dim=(1, 2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=16 + 6 * 8,
    )
    return module.requires_grad_(requires_grad=False).eval()


def given(rows: int = 2) -> NetworkInput:
    generator = torch.Generator().manual_seed(1)
    return NetworkInput(
        x=torch.randn((rows, 4, *LATENT), generator=generator),
        timestep=torch.full((rows,), 987.0),
        context=torch.randn((rows, 77, 16), generator=generator),
        pooled=torch.randn((rows, 16), generator=generator),
        time_ids=torch.tensor([[256.0, 128.0, 0.0, 0.0, 256.0, 128.0]] * rows),
        sigma=3.0,
        positive=(False, True),
    )


def random(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


def test_the_flat_unet_gives_the_bits_of_the_diffusers_unet(unet: UNet2DConditionModel) -> None:
    middle, down = residual_shapes(unet, 2, LATENT)
    zeros = [torch.zeros(shape) for shape in (middle, *down)]
    flat = FlatUNet(unet)(*unet_inputs(unet, given()), *zeros)
    assert torch.equal(flat, UNet(unet)(given()))


def test_the_flat_unet_adds_a_control_network_s_residuals(unet: UNet2DConditionModel) -> None:
    middle, down = residual_shapes(unet, 2, LATENT)
    residuals = [random(shape) for shape in down]
    flat = FlatUNet(unet)(*unet_inputs(unet, given()), random(middle), *residuals)
    assert torch.equal(flat, UNet(unet)(given(), residuals, random(middle)))
    assert not torch.equal(flat, UNet(unet)(given()))


def test_the_flat_decoder_gives_the_bits_of_the_vae() -> None:
    torch.manual_seed(2)
    vae = AutoencoderKL(block_out_channels=(32, 32), layers_per_block=1, norm_num_groups=4)
    latent = random((1, 4, 8, 8))
    with torch.inference_mode():
        assert torch.equal(FlatDecoder(vae)(latent), vae.decode(latent, return_dict=False)[0])


def test_a_network_with_other_embeddings_is_not_flat(unet: UNet2DConditionModel) -> None:
    assert is_flat(unet)
    plain = UNet2DConditionModel(
        block_out_channels=(32, 32),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        layers_per_block=1,
    )
    assert not is_flat(plain)


def test_latents_must_be_whole_cells_of_the_lowest_level(unet: UNet2DConditionModel) -> None:
    assert fits(unet, LatentShape(8, 12))
    assert not fits(unet, LatentShape(8, 13))
    assert not fits(unet, LatentShape(6, 8))


def test_rows_go_in_chunks_and_the_last_row_fills_the_last_one() -> None:
    rows = torch.arange(5.0)[:, None]
    chunks = [chunk[0].flatten().tolist() for chunk in in_chunks([rows], 2)]
    assert chunks == [[0.0, 1.0], [2.0, 3.0], [4.0, 4.0]]


def test_psnr_is_that_of_the_largest_value_and_nothing_for_what_is_no_number() -> None:
    expected = torch.tensor([0.0, -10.0])
    assert psnr(expected + 0.1, expected) == pytest.approx(40.0, abs=0.01)
    assert psnr(expected, expected) == float("inf")
    assert psnr(torch.full((2,), torch.nan), expected) == float("-inf")
    assert psnr(torch.zeros(3), expected) == float("-inf")
