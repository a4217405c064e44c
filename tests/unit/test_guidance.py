"""Guidance: how two prompts' guesses become one, and what the network is told."""

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from torch.nn import functional

from pipeline.adapters.freeu import freeu_applied
from pipeline.models.unet import UNet
from pipeline.request.sampling import FreeU, Guidance
from pipeline.sampling.adm import SdxlSizes
from pipeline.sampling.anisotropic import anisotropic_blur
from pipeline.sampling.denoiser import Conditioning, Denoiser, NetworkInput
from pipeline.sampling.guidance import adaptive, classifier_free, guide, sharpen
from pipeline.sampling.noise import seeded_generator
from pipeline.sampling.parametrisation import ModelSampling

SHAPE = (1, 4, 16, 16)
PLAIN = Guidance(cfg=4.0, sharpness=0.0, adaptive_cfg=100.0)


def noise(seed: int) -> Tensor:
    return torch.randn(SHAPE, generator=seeded_generator(seed))


class Calls:
    """A network that answers with the mean of its prompt, and remembers what it was told."""

    def __init__(self) -> None:
        self.contexts: list[Tensor] = []
        self.time_ids: list[Tensor] = []

    def __call__(self, given: NetworkInput) -> Tensor:
        self.contexts.append(given.context)
        self.time_ids.append(given.time_ids)
        return given.x * given.context.mean(dim=(1, 2)).view(-1, 1, 1, 1)


def make_denoiser(
    calls: Calls, guidance: Guidance, positive_tokens: int = 77, negative_tokens: int = 77
) -> Denoiser:
    positive = Conditioning(torch.full((1, positive_tokens, 8), 0.5), torch.zeros(1, 4))
    negative = Conditioning(torch.full((1, negative_tokens, 8), 0.1), torch.zeros(1, 4))
    sizes = SdxlSizes(128, 128, guidance)
    return Denoiser(calls, ModelSampling(), positive, negative, guidance, sizes)


def test_without_extras_guidance_is_the_plain_formula() -> None:
    x, positive, negative = noise(1), noise(2), noise(3)
    made = guide(x, positive, negative, PLAIN, 0.5)
    torch.testing.assert_close(made, negative + 4.0 * (positive - negative))


def test_sharpness_does_nothing_at_the_start_and_blurs_more_towards_the_end() -> None:
    eps, guess = noise(1), noise(2)
    changes = [float((sharpen(eps, guess, 10.0, p) - eps).norm()) for p in (0.0, 0.5, 1.0)]
    assert changes[0] == 0.0
    assert changes[1] < changes[2]


def test_adaptive_cfg_tames_only_what_is_above_it_and_only_early() -> None:
    positive, negative = noise(1), noise(2)
    assert torch.equal(
        adaptive(positive, negative, 7.0, 7.0, 0.0), classifier_free(positive, negative, 7.0)
    )
    torch.testing.assert_close(
        adaptive(positive, negative, 12.0, 7.0, 0.0), classifier_free(positive, negative, 7.0)
    )
    torch.testing.assert_close(
        adaptive(positive, negative, 12.0, 7.0, 1.0), classifier_free(positive, negative, 12.0)
    )


def test_the_blur_is_the_mean_of_each_window_weighted_by_distance_and_by_difference() -> None:
    x, guide_ = noise(1), noise(2)
    std, mean = torch.std_mean(guide_)
    pads = (6, 6, 6, 6)
    standard = functional.pad((guide_ - mean) / (std + 1e-5), pads, mode="reflect")[0]
    values = functional.pad(x, pads, mode="reflect")[0]
    offset = torch.arange(13.0) - 6
    near = torch.exp(-0.5 * (offset[:, None] ** 2 + offset**2) / 9.0)
    expected = torch.empty_like(x)
    for row in range(16):
        for column in range(16):
            window = (slice(None), slice(row, row + 13), slice(column, column + 13))
            seen = standard[window]
            distance = (seen - seen[:, 6:7, 6:7]).abs().sum(0)
            weights = near * torch.exp(-0.5 * (distance / 3.0) ** 2)
            expected[0, :, row, column] = (values[window] * weights).sum((1, 2)) / weights.sum()
    torch.testing.assert_close(anisotropic_blur(x, guide_), expected)
    two = anisotropic_blur(torch.cat([x, noise(3)]), torch.cat([guide_, noise(4)]))
    torch.testing.assert_close(two[:1], expected)


def test_the_blur_leaves_a_flat_latent_alone_and_keeps_edges() -> None:
    flat = torch.full(SHAPE, 3.0)
    torch.testing.assert_close(anisotropic_blur(flat, noise(1)), flat)
    edge = torch.cat([torch.zeros(1, 4, 16, 8), torch.full((1, 4, 16, 8), 9.0)], dim=3)
    torch.testing.assert_close(anisotropic_blur(edge, edge), edge, rtol=0, atol=0.6)
    assert anisotropic_blur(noise(1), flat).std() < 0.3


def test_at_cfg_one_the_negative_prompt_is_never_asked() -> None:
    calls = Calls()
    make_denoiser(calls, Guidance(cfg=1.0))(noise(1), torch.tensor(5.0))
    assert [context.shape[0] for context in calls.contexts] == [1]
    assert calls.contexts[0].mean() == 0.5


@pytest.mark.parametrize(
    ("positive", "negative", "shapes"),
    [
        (77, 77, [(2, 77)]),
        (154, 77, [(2, 154)]),
        (231, 154, [(2, 462)]),
        (385, 77, [(1, 385), (1, 77)]),
    ],
)
def test_prompts_of_different_lengths_share_a_call_while_repeating_is_cheap(
    positive: int, negative: int, shapes: list[tuple[int, int]]
) -> None:
    calls = Calls()
    make_denoiser(calls, PLAIN, positive, negative)(noise(1), torch.tensor(5.0))
    assert [tuple(context.shape[:2]) for context in calls.contexts] == shapes


def test_the_guess_is_the_same_in_one_call_and_in_two() -> None:
    x, sigma = noise(1), torch.tensor(5.0)
    one = make_denoiser(Calls(), PLAIN, 77)(x, sigma)
    two = make_denoiser(Calls(), PLAIN, 385)(x, sigma)
    torch.testing.assert_close(one, two)


def test_sizes_are_exaggerated_early_and_plain_later() -> None:
    calls = Calls()
    denoiser = make_denoiser(calls, Guidance())
    for sigma in (14.0, 0.5):
        denoiser(noise(1), torch.tensor(sigma))
    assert calls.time_ids[0].tolist() == [[102, 102, 0, 0, 128, 128], [192, 192, 0, 0, 128, 128]]
    assert calls.time_ids[1].tolist() == [[128, 128, 0, 0, 128, 128]] * 2


def test_the_target_size_is_rounded_to_64() -> None:
    sizes = SdxlSizes(1000, 700, Guidance())
    assert sizes.ids(positive=True, scaled=True) == (1050, 1500, 0, 0, 704, 1024)
    assert sizes.ids(positive=True, scaled=False) == (704, 1024, 0, 0, 704, 1024)


def test_guidance_waits_for_no_device() -> None:
    """Tensors on the meta device have no values, so reading one there raises."""
    far = torch.device("meta")
    prompt = Conditioning(torch.empty(1, 77, 8, device=far), torch.empty(1, 4, device=far))
    guidance = Guidance(cfg=9.0)
    sizes = SdxlSizes(128, 128, guidance)
    denoiser = Denoiser(Calls(), ModelSampling(), prompt, prompt, guidance, sizes)
    made = denoiser(torch.empty(SHAPE, device=far), torch.tensor(5.0))
    assert made.device == far


@pytest.fixture(scope="module")
def unet() -> UNet:
    """An SDXL-shaped network of random weights, as small as can be."""
    torch.manual_seed(0)
    module = UNet2DConditionModel(
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(32, 64, 128),
        attention_head_dim=(2, 4, 8),
        layers_per_block=1,
        cross_attention_dim=8,
        addition_embed_type="text_time",
        addition_time_embed_dim=16,
        projection_class_embeddings_input_dim=4 + 6 * 16,
    )
    return UNet(module.eval())


def one_guess(unet: UNet, freeu: FreeU | None) -> Tensor:
    prompt = Conditioning(torch.full((1, 77, 8), 0.5), torch.zeros(1, 4))
    denoiser = Denoiser(unet, ModelSampling(), prompt, prompt, PLAIN, SdxlSizes(128, 128, PLAIN))
    with torch.inference_mode(), freeu_applied(unet.module, freeu):
        return denoiser(noise(1), torch.tensor(5.0))


def test_freeu_changes_the_guess_and_leaves_nothing_behind(unet: UNet) -> None:
    before = one_guess(unet, None)
    assert not torch.equal(one_guess(unet, FreeU(1.3, 1.4, 0.9, 0.2)), before)
    assert torch.equal(one_guess(unet, None), before)


def test_neutral_freeu_changes_nothing_but_rounding(unet: UNet) -> None:
    torch.testing.assert_close(
        one_guess(unet, FreeU(1.0, 1.0, 1.0, 1.0)), one_guess(unet, None), rtol=1e-4, atol=1e-4
    )


def test_freeu_leaves_nothing_behind_when_a_run_is_ended(unet: UNet) -> None:
    before = one_guess(unet, None)
    with pytest.raises(KeyError), freeu_applied(unet.module, FreeU(1.3, 1.4, 0.9, 0.2)):
        raise KeyError
    assert torch.equal(one_guess(unet, None), before)
