"""Control-LoRAs: what a control network of the embedded model changes in its encoder half.

The layout is that of Stability AI's control-LoRAs: for each weight of the UNet's encoder half
``up`` and ``down``, whose product is added to it, and a whole ``bias``; the hint encoder and the
zero convolutions whole; names as in the original ControlNet.
"""

from pathlib import Path
from typing import Any, Final

import torch
from diffusers import ControlNetModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from torch.func import functional_call

from tools.embedded.companions.base import Base, Texts, asked, weighted_error
from tools.embedded.companions.image_prompt import save_half
from tools.embedded.companions.low_rank import LowRank, matrices, original_name
from tools.embedded.companions.training import Draws
from tools.embedded.dataset import Pixels
from tools.embedded.denoising import TIMESTEPS, Conditions

CONTROL_FILES: Final = {
    "canny": "control_lora_canny.safetensors",
    "cpds": "control_lora_cpds.safetensors",
}
RANK: Final = 8
LOUDNESS: Final = 8.0  # edges are thin: most of a hint is black
TEXT_DROPPED: Final = 0.2  # seldom: beside a caption little but the layout is left to learn
EARLIEST: Final = 200  # timestep; below it the noisy picture shows its edges itself
SHARED: Final = ("conv_in", "time_embedding", "add_embedding", "down_blocks", "mid_block")
HINT_CHANNELS: Final = (16, 32, 96, 256)  # as in every ControlNet
MARKER: Final = "lora_controlnet"

Residuals = tuple[tuple[Tensor, ...], Tensor]


class ControlLora(nn.Module):
    """All that is learned; the encoder half itself stays with the frozen network."""

    def __init__(self, network: ControlNetModel) -> None:
        super().__init__()
        weights = matrices(network, SHARED)
        self.low_rank = LowRank(weights, RANK)
        own = dict(network.named_parameters())
        self.biased = [
            bias for name in weights if (bias := name.removesuffix("weight") + "bias") in own
        ]
        self.biases = nn.ParameterList(
            nn.Parameter(own[name].detach().clone()) for name in self.biased
        )
        self.hint = network.controlnet_cond_embedding
        self.zero = network.controlnet_down_blocks
        self.middle = network.controlnet_mid_block
        for part in (self.hint, self.zero, self.middle):
            part.requires_grad_(True)
        self.hint.to(memory_format=torch.channels_last)  # almost twice as fast
        _make_audible(self.hint)

    def residuals(self, network: ControlNetModel, given: dict[str, Any], hint: Tensor) -> Residuals:
        """What is added to the UNet's skip connections and its middle."""
        weights = self.low_rank.changed(dict(network.named_parameters()))
        weights |= dict(zip(self.biased, self.biases, strict=True))
        asked_of = {**given, "controlnet_cond": hint, "return_dict": False}
        down, middle = functional_call(network, weights, (), asked_of)
        return tuple(down), middle


class ControlLoss:
    """Denoising under the hint of the very picture; texts are left out now and then."""

    def __init__(
        self, base: Base, draws: Draws, network: ControlNetModel, learner: ControlLora, kind: str
    ) -> None:
        self._base, self._draws = base, draws
        self._network, self._learner, self._kind = network, learner, kind

    def __call__(self, count: int, rng: torch.Generator) -> Tensor:
        batch, chosen, numbers = self._draws(count, rng)
        later = EARLIEST + batch.timesteps * (TIMESTEPS - EARLIEST) // TIMESTEPS
        batch = batch._replace(timesteps=later)
        silent = torch.rand(count, 1, generator=rng) < TEXT_DROPPED
        empty = self._base.empty
        tokens = Conditions(
            torch.where(silent, empty.first, batch.tokens.first),
            torch.where(silent, empty.second, batch.tokens.second),
        )
        texts: Texts = self._base.texts(batch._replace(tokens=tokens))
        given = asked(self._base.noised(batch), batch.timesteps, texts, batch.sizes)
        hint = as_hint(chosen.pick_hints(self._kind, numbers))
        down, middle = self._learner.residuals(self._network, given, hint)
        predicted = self._base.unet(
            **given, down_block_additional_residuals=down, mid_block_additional_residual=middle
        ).sample
        return weighted_error(self._base, batch, predicted)


def build_network(base: Base) -> ControlNetModel:
    """The frozen encoder half of the UNet, with a hint encoder and zero convolutions to learn."""
    network = ControlNetModel.from_unet(
        base.unet, conditioning_embedding_out_channels=HINT_CHANNELS
    )
    network.set_attn_processor(AttnProcessor())
    return network.eval().requires_grad_(False)


def as_hint(grey: Pixels) -> Tensor:
    """(B, H, W) bytes as the hint encoder takes them: (B, 3, H, W) in 0..1."""
    hint = (torch.from_numpy(grey).float() / 255)[:, None].expand(-1, 3, -1, -1)
    return hint.contiguous(memory_format=torch.channels_last)


def _make_audible(hint: nn.Module) -> None:
    """First weights at which the hint is about as strong as what it is added to.

    With torch's own, eight layers leave a thousandth of it, and ControlNet's last layer begins as
    zeros; the zero convolutions behind it keep the start harmless by themselves.
    """
    for layer in hint.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    with torch.no_grad():
        hint.conv_out.weight.mul_(LOUDNESS)  # type: ignore[union-attr, operator]


def control_tensors(learner: ControlLora, config: Any) -> dict[str, Tensor]:
    """The control-LoRA under its published names."""
    tensors: dict[str, Tensor] = {MARKER: torch.zeros(0)}
    for name, up, down in learner.low_rank.pairs():
        module = original_name(name, config).removesuffix("weight")
        tensors[f"{module}up"], tensors[f"{module}down"] = up, down
    for name, bias in zip(learner.biased, learner.biases, strict=True):
        tensors[original_name(name, config)] = bias
    # Convolutions of the hint encoder stand at the even places, activations between them.
    hint = learner.hint
    for place, layer in enumerate((hint.conv_in, *hint.blocks, hint.conv_out)):
        tensors |= _named(f"input_hint_block.{2 * place}.", layer)
    for number, layer in enumerate(learner.zero):
        tensors |= _named(f"zero_convs.{number}.0.", layer)
    return tensors | _named("middle_block_out.0.", learner.middle)


def export_control(learner: ControlLora, config: Any, path: Path) -> None:
    """Write the control-LoRA in float16."""
    save_half(control_tensors(learner, config), path)


def _named(prefix: str, layer: nn.Module) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in layer.state_dict().items()}
