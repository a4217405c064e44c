"""The companions' files as their tool writes them fit the embedded model as the server reads it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from pipeline.adapters.control_lora import load_control
from pipeline.adapters.inpaint_head import load_inpaint_head
from pipeline.adapters.ip_adapter import load_adapter
from pipeline.models.checkpoint import Checkpoint, load_checkpoint
from pipeline.models.image_encoder import load_image_encoder
from pipeline.models.manager import EMBEDDED_FOLDER
from pipeline.models.upscaler import load_upscaler
from pipeline.weights.lora import ChosenLora
from tools.embedded.companions.base import Base, Texts, asked
from tools.embedded.companions.control import ControlLora, build_network, export_control
from tools.embedded.companions.image_prompt import (
    ENCODER_FOLDER,
    TOKENS,
    ImagePrompt,
    as_references,
    export_image_prompt,
)
from tools.embedded.companions.image_prompt import FILE as ADAPTER
from tools.embedded.companions.inpaint import (
    HEAD_FILE,
    PATCH_FILE,
    Inpaint,
    eight_bit,
    export_inpaint,
)
from tools.embedded.companions.low_rank import LowRank, matrices
from tools.embedded.companions.masks import draw_mask, grey_masked, latent_mask
from tools.embedded.companions.upscaler import FILE as UPSCALER
from tools.embedded.companions.upscaler import build_upscaler, export_upscaler

pytestmark = pytest.mark.slow  # how the embedded model was made, not what it does

CPU = torch.device("cpu")
HALF = 2e-3  # what rounding to float16 may change, relative


@pytest.fixture(scope="module")
def base() -> Base:
    return Base(EMBEDDED_FOLDER)


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return load_checkpoint(EMBEDDED_FOLDER, CPU)


def shake(module: nn.Module) -> None:
    """Weights as some training might leave them: none of them zero."""
    rng = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(torch.randn(weight.shape, generator=rng), alpha=0.02)


def make_question(base: Base) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(3)
    texts = base.encode(base.empty)
    sizes = torch.tensor([[256.0, 256, 0, 0, 256, 256]])
    x = torch.randn(1, 4, 8, 8, generator=rng)
    return asked(x, torch.tensor([500]), Texts(*texts), sizes)


def relative(first: Tensor, second: Tensor) -> float:
    return float((first - second).detach().norm() / second.detach().norm())


def test_a_written_control_lora_adds_what_the_trained_one_added(
    base: Base, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    network = build_network(base)
    learner = ControlLora(network)
    shake(learner)
    given, hint = make_question(base), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        down, middle = learner.residuals(network, given, hint)
    export_control(learner, base.unet.config, tmp_path / "control.safetensors")
    read = load_control(tmp_path / "control.safetensors", checkpoint.unet, CPU)
    read.follow_base()
    with torch.no_grad():
        found_down, found_middle = read.module(**given, controlnet_cond=hint, return_dict=False)
    assert len(found_down) == len(down)
    for found, wanted in zip((*found_down, found_middle), (*down, middle), strict=True):
        assert relative(found, wanted) < 10 * HALF


def test_a_written_image_prompt_gives_the_tokens_that_were_trained(
    base: Base, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    before = dict(base.unet.attn_processors)
    learner = ImagePrompt(base).eval()
    export_image_prompt(learner, tmp_path)
    assert dict(base.unet.attn_processors) == before
    image = Image.fromarray(np.random.default_rng(1).integers(0, 255, (224, 224, 3), np.uint8))
    encoder = load_image_encoder(tmp_path / ENCODER_FOLDER, CPU)
    adapter = load_adapter(tmp_path / ADAPTER, checkpoint.unet.module, CPU)
    with torch.no_grad():
        tokens = adapter.tokens(image, encoder)
        blank, _ = learner.tokens(torch.zeros(1, 3, 224, 224))
        layers = adapter.keys_values(tokens.positive)
    assert tokens.positive.shape == (1, TOKENS, base.unet.config.cross_attention_dim)
    assert relative(tokens.negative, blank) < 10 * HALF
    assert len(layers) == len(learner.attentions)
    layer: Any = learner.attentions[0]
    wanted = layer.to_k_ip(tokens.positive)
    assert relative(layers[0][0], wanted) < HALF


def test_an_inpaint_patch_brings_the_weights_to_a_level_of_those_that_were_trained(
    base: Base, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    learner = Inpaint(base)
    shake(learner)
    export_inpaint(learner, base, tmp_path)
    chosen = ChosenLora("patch", tmp_path / PATCH_FILE, 1.0)
    (fit,) = checkpoint.loras.use([chosen])
    try:
        assert not fit.faults
        weights = dict(checkpoint.unet.module.named_parameters())
        before = dict(base.unet.named_parameters())
        for name, wanted in zip(learner.names, learner.weights, strict=True):
            delta = (wanted - before[name]).detach()
            level = float(delta.max() - delta.min()) / 255
            assert float((weights[name] - wanted).detach().abs().max()) <= level * 0.51 + 1e-6
    finally:
        checkpoint.loras.remove()
    assert load_inpaint_head(tmp_path / HEAD_FILE).channels == base.unet.conv_in.out_channels


def test_a_written_upscaler_doubles_a_picture(tmp_path: Path) -> None:
    export_upscaler(build_upscaler(), tmp_path)
    upscaler = load_upscaler(tmp_path / UPSCALER)
    assert upscaler.factor == 2
    assert upscaler(np.zeros((24, 36, 3), np.uint8)).shape == (48, 72, 3)


def test_low_rank_changes_begin_as_none(base: Base) -> None:
    weights = matrices(base.unet, ("down_blocks",))
    assert weights
    for name, weight in LowRank(weights, rank=4).changed(weights).items():
        assert torch.equal(weight, weights[name])


def test_an_untrained_upscaler_enlarges_smoothly() -> None:
    ramp = torch.linspace(0.2, 0.8, 16).expand(1, 3, 16, 16)
    with torch.no_grad():
        made = build_upscaler()(ramp)[0, :, 8:24, 8:24]
    steps = made[..., 1:] - made[..., :-1]
    assert torch.allclose(steps, torch.full_like(steps, 0.6 / 15 / 2), atol=1e-4)


def test_masks_are_repeatable_and_leave_something_on_both_sides() -> None:
    for seed in range(40):
        mask = draw_mask(seed, (320, 192))
        assert mask.shape == (192, 320)
        assert np.array_equal(mask, draw_mask(seed, (320, 192)))
        assert 0.01 < mask.mean() < 0.99


def test_a_latent_pixel_is_masked_if_any_of_its_pixels_is() -> None:
    mask = np.zeros((16, 24), np.bool_)
    mask[8, 23] = True
    assert latent_mask(mask).tolist() == [[False, False, False], [False, False, True]]


def test_what_is_masked_is_grey_and_the_rest_is_kept() -> None:
    pixels = np.full((8, 8, 3), 200, np.uint8)
    mask = np.zeros((8, 8), np.bool_)
    mask[:4] = True
    shown = grey_masked(pixels, mask)
    assert (shown[:4] == 127).all()
    assert (shown[4:] == 200).all()


def test_an_unchanged_weight_survives_eight_bits() -> None:
    levels, low, high = eight_bit(torch.zeros(3, 3))
    assert torch.equal(levels / 255.0 * (high - low) + low, torch.zeros(3, 3))


def test_a_reference_of_any_shape_is_a_square_for_the_encoder() -> None:
    wide = np.random.default_rng(2).integers(0, 255, (2, 192, 320, 3), np.uint8)
    seen = as_references(wide, torch.Generator().manual_seed(0))
    assert seen.shape == (2, 3, 224, 224)
    assert -2.5 < float(seen.min()) < float(seen.max()) < 2.8
