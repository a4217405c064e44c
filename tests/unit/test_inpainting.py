"""Denoising under a mask: with every sampler and every way of handing over, the rest stays."""

from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from pipeline.adapters.inpaint_head import InpaintHead, load_inpaint_head
from pipeline.errors import InvalidModelFile
from pipeline.request.choices import SAMPLER_NAMES, SwapMethod
from pipeline.sampling.inpainting import Inpainting, MaskedDenoise, feature_added
from pipeline.sampling.latent_format import LatentFormat
from pipeline.sampling.refiner import RefinerSwap
from tests.unit.sampling_runs import SHAPE, STEPS, Network, Watcher, run, run_of, run_swap

# They end a little above level 0.
LEAVE_NOISE = ("dpm_fast", "dpm_adaptive", "tcd", "uni_pc", "uni_pc_bh2")


def make_inpainting() -> Inpainting:
    """The left half is painted."""
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :4] = 1.0
    return Inpainting(torch.randn(SHAPE, generator=torch.Generator().manual_seed(5)) * 5, mask)


def masked(network: Network, seed: int = 3) -> MaskedDenoise:
    return MaskedDenoise(network, network.model_sampling, make_inpainting(), seed)


@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
def test_what_is_kept_comes_out_as_it_went_in(sampler: str) -> None:
    network, watcher, inpainting = Network(), Watcher(), make_inpainting()
    made = run(masked(network), run_of(sampler), watcher, inpainting.latent)
    kept = inpainting.mask.expand(SHAPE) == 0
    assert made.isfinite().all()
    # The noise that some samplers leave, in the VAE's space.
    left = 4 * 0.0292 / 0.13025 if sampler in LEAVE_NOISE else 1e-3
    torch.testing.assert_close(made[kept], inpainting.latent[kept], rtol=1e-3, atol=left)
    assert (made[~kept] - inpainting.latent[~kept]).abs().mean() > 0.5
    in_model_space = network.model_sampling.latents.to_model(inpainting.latent)
    for guess in watcher.guesses:
        torch.testing.assert_close(guess[kept], in_model_space[kept], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", get_args(SwapMethod))
@pytest.mark.parametrize("switch", [0, 3, STEPS])
def test_every_way_of_handing_over_keeps_the_rest(method: SwapMethod, switch: int) -> None:
    base, refiner, watcher = Network(0.5), Network(0.9), Watcher()
    inpainting = make_inpainting()
    swap = RefinerSwap(base, refiner, switch, method, inpainting)
    made = run_swap(swap, run_of(), watcher, inpainting.latent)
    kept = inpainting.mask.expand(SHAPE) == 0
    torch.testing.assert_close(made[kept], inpainting.latent[kept], rtol=1e-4, atol=1e-4)
    assert len(watcher.guesses) == STEPS
    unmasked = run_swap(
        RefinerSwap(Network(0.5), Network(0.9), switch, method), run_of(), watcher, None
    )
    assert (unmasked[kept] - inpainting.latent[kept]).abs().mean() > 0.5


def test_the_network_sees_what_is_kept_with_noise_of_its_level() -> None:
    network, inpainting = Network(), make_inpainting()
    x = torch.full(SHAPE, 100.0)
    denoise = masked(network)
    for level in (5.0, 2.0):
        denoise(x, torch.tensor(level))
    kept = inpainting.mask.expand(SHAPE) == 0
    in_model_space = network.model_sampling.latents.to_model(inpainting.latent)
    noises = []
    for seen, sigma in network.seen:
        assert (seen[~kept] == 100.0).all()
        noises.append((seen - in_model_space)[kept] / sigma)
        assert noises[-1].std() == pytest.approx(1.0, abs=0.25)
    assert (noises[0] - noises[1]).abs().mean() > 0.5  # fresh noise each time
    assert (x == 100.0).all()  # the sampler's own latent is left alone


def test_a_seed_gives_the_same_noise_again_and_the_largest_seed_has_some_too() -> None:
    made = []
    for seed in (7, 7, 8, 2**63 - 1):
        network = Network()
        masked(network, seed)(torch.zeros(SHAPE), torch.tensor(1.0))
        made.append(network.seen[0][0])
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
    assert made[3].isfinite().all()


class FirstLayer(nn.Module):
    """Stands where a UNet's first layer does."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(4, 6, 3, padding=1)


def test_a_feature_is_added_behind_the_first_layer_and_gone_after_the_block() -> None:
    unet, x, feature = FirstLayer(), torch.randn(2, 4, 8, 8), torch.randn(1, 6, 8, 8)
    plain = unet.conv_in(x)
    with feature_added(unet, feature):
        torch.testing.assert_close(unet.conv_in(x), plain + feature)
    with pytest.raises(KeyError), feature_added(unet, feature):
        raise KeyError
    with feature_added(unet, None):
        assert torch.equal(unet.conv_in(x), plain)
    assert torch.equal(unet.conv_in(x), plain)


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_a_head_is_read_and_sees_mask_and_latent(kind: str, tmp_path: Path) -> None:
    weight, inpainting = torch.randn(6, 5, 3, 3), make_inpainting()
    path = tmp_path / f"head.{kind}"
    if kind == "pth":
        torch.save({"head": weight.half()}, path)
    else:
        save_file({"head": weight.half()}, path)
    head = load_inpaint_head(path)
    made = head.feature(inpainting, LatentFormat())
    assert head.channels == 6
    assert made.shape == (1, 6, 8, 8)
    # Inside of the edge there is no padding to know of.
    seen = torch.cat([inpainting.mask, inpainting.latent * 0.13025], dim=1)
    inner = functional.conv2d(seen, weight.half().float())
    torch.testing.assert_close(made[..., 1:-1, 1:-1], inner)


def test_a_head_goes_on_at_the_edge_with_what_is_there() -> None:
    head = InpaintHead(torch.randn(6, 5, 3, 3))
    even = Inpainting(torch.ones(SHAPE), torch.ones(1, 1, 8, 8))
    made = head.feature(even, LatentFormat())
    torch.testing.assert_close(made, made[..., :1, :1].expand_as(made))


@pytest.mark.parametrize(
    "values", [{}, {"head": torch.zeros(6, 4, 3, 3)}, {"weight": torch.zeros(6, 5, 3, 3)}]
)
def test_another_file_is_no_head(values: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save(values, path)
    with pytest.raises(InvalidModelFile, match="no inpaint head"):
        load_inpaint_head(path)
