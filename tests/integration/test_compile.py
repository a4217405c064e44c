"""A compiled network: the same answers, whatever is put on it afterwards."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from pipeline.engine.conditioned import ImageConditions, PatchedUNet
from pipeline.models.unet import UNet
from pipeline.request.sampling import FreeU
from pipeline.sampling.denoiser import NetworkInput

# What compiling itself does on the way; none of it is ours.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def make_unet() -> UNet:
    """As SDXL's, with as little as there can be in it."""
    torch.manual_seed(4)
    module = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=16,
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=16 + 6 * 8,
    )
    return UNet(module.requires_grad_(requires_grad=False).eval())


class OneLayer(nn.Module):
    """The least that can be asked as a UNet is."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(in_channels=4)
        self.layer = nn.Conv2d(4, 4, 3, padding=1).requires_grad_(requires_grad=False)

    def forward(self, x: Tensor, _timestep: Tensor, **_rest: Any) -> tuple[Tensor]:
        return (self.layer(x).sin(),)


def given() -> NetworkInput:
    generator = torch.Generator().manual_seed(1)
    return NetworkInput(
        x=torch.randn((2, 4, 8, 8), generator=generator),
        timestep=torch.tensor([500.0, 500.0]),
        context=torch.randn((2, 77, 16), generator=generator),
        pooled=torch.randn((2, 16), generator=generator),
        time_ids=torch.full((2, 6), 64.0),
        sigma=3.0,
        positive=(False, True),
    )


def ask(unet: Any) -> Tensor:
    with torch.inference_mode():
        answer: Tensor = unet(given())
        return answer


@pytest.fixture(scope="module")
def compiled() -> UNet:
    unet = make_unet()
    unet.compile()
    return unet


def assert_alike(first: Tensor, second: Tensor) -> None:
    torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-4)


def test_it_answers_as_the_network_does_that_is_not_compiled(compiled: UNet) -> None:
    assert_alike(ask(compiled), ask(make_unet()))
    assert type(compiled._compiled).__name__ == "OptimizedModule"  # it did not give up


def test_freeu_still_shows(compiled: UNet) -> None:
    plain = ask(compiled)
    none, freeu = ImageConditions(), FreeU(1.4, 1.6, 0.6, 0.2)
    strong = ask(PatchedUNet(compiled, none, freeu))
    assert_alike(strong, ask(PatchedUNet(make_unet(), none, freeu)))
    assert (strong - plain).abs().max() > 1e-3
    assert_alike(ask(compiled), plain)


def test_changed_weights_show_and_go_as_loras_do(compiled: UNet) -> None:
    plain = ask(compiled)
    layer = compiled.module.mid_block.attentions[0].transformer_blocks[0].attn2.to_k
    original = layer.weight
    layer.weight = nn.Parameter(original * 3.0, requires_grad=False)
    assert (ask(compiled) - plain).abs().max() > 1e-5
    layer.weight = original
    assert torch.equal(ask(compiled), plain)


def test_where_compiling_fails_the_network_works_as_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("torch._inductor.config.force_disable_caches", True)
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no-such-compiler",))
    unet = UNet(OneLayer())
    expected = ask(unet)
    unet.compile()
    with caplog.at_level("WARNING", logger="pipeline.models.unet"):
        assert_alike(ask(unet), expected)
    assert "cannot be compiled" in caplog.text
