"""The inpaint head and patch: a UNet that is told what is around the mask.

Both are in Fooocus's layouts. The head is one convolution over [mask, latent of the picture with
grey under the mask]; what it gives is added after the UNet's first layer. The patch is a whole
difference to some of the UNet's weights, in 256 levels a tensor.
"""

from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from tools.embedded.architecture import LATENT_CHANNELS
from tools.embedded.companions.base import Base, asked
from tools.embedded.companions.low_rank import original_name
from tools.embedded.companions.training import Draws
from tools.embedded.denoising import Batch

HEAD_FILE: Final = "inpaint_head.pth"
PATCH_FILE: Final = "inpaint.fooocus.patch"

# All but the innermost level: what is around a mask shows at the finer ones, and these are small.
CHANGED: Final = (
    "conv_in",
    "conv_out",
    "down_blocks.0",
    "down_blocks.1",
    "up_blocks.1",
    "up_blocks.2",
)
OUTSIDE: Final = 0.1  # weight of the error where the picture is known anyway
LEVELS: Final = 255

EightBit = tuple[Tensor, float, float]


class Inpaint(nn.Module):
    """All that is learned: the head, and a copy of the weights that the patch changes."""

    def __init__(self, base: Base) -> None:
        super().__init__()
        width = base.unet.config.block_out_channels[0]
        self.head = nn.Parameter(torch.zeros(width, 1 + LATENT_CHANNELS, 3, 3))
        weights = {
            name: weight
            for name, weight in base.unet.named_parameters()
            if name.startswith(CHANGED)
        }
        self.names = list(weights)
        self.weights = nn.ParameterList(
            nn.Parameter(weight.detach().clone()) for weight in weights.values()
        )

    def feature(self, mask: Tensor, greyed: Tensor) -> Tensor:
        """What is added after the first layer, (B, C, h, w)."""
        seen = functional.pad(torch.cat([mask, greyed], 1), (1, 1, 1, 1), "replicate")
        return functional.conv2d(seen, self.head)


class InpaintLoss:
    """Denoising where the mask is; around it the UNet sees the true picture, as noisy."""

    def __init__(self, base: Base, draws: Draws, learner: Inpaint) -> None:
        self._base, self._draws, self._learner = base, draws, learner
        self._feature: Tensor | None = None
        base.unet.conv_in.register_forward_hook(self._add_feature)

    def __call__(self, count: int, rng: torch.Generator) -> Tensor:
        batch, chosen, numbers = self._draws(count, rng)
        mask, greyed = chosen.masks[numbers].float(), chosen.greyed[numbers].float()
        self._feature = self._learner.feature(mask, greyed)
        given = asked(
            self._base.noised(batch), batch.timesteps, self._base.texts(batch), batch.sizes
        )
        weights = dict(zip(self._learner.names, self._learner.weights, strict=True))
        predicted = functional_call(self._base.unet, weights, (), given).sample
        return masked_error(self._base, batch, predicted, mask)

    def _add_feature(self, _layer: nn.Module, _given: object, made: Tensor) -> Tensor:
        return made if self._feature is None else made + self._feature


def masked_error(base: Base, batch: Batch, predicted: Tensor, mask: Tensor) -> Tensor:
    """The model's own loss, over the masked part; the rest counts a tenth."""
    counts = mask + OUTSIDE * (1 - mask)
    errors = (predicted.float() - batch.eps).square().mean(1, keepdim=True)
    each = (errors * counts).sum((1, 2, 3)) / counts.sum((1, 2, 3))
    weights = base.noise.weights
    return (each * weights[batch.timesteps]).mean() / weights.mean()


def eight_bit(delta: Tensor) -> EightBit:
    """A difference in 256 levels: ``v / 255 * (high - low) + low`` gives it back, nearly."""
    low, high = float(delta.min()), float(delta.max())
    levels = ((delta - low) / max(high - low, 1e-12) * LEVELS).round().to(torch.uint8)
    return levels, low, high


def patch_values(learner: Inpaint, base: Base) -> dict[str, EightBit]:
    """The patch by the original names of the weights."""
    before = dict(base.unet.named_parameters())
    return {
        f"diffusion_model.{original_name(name, base.unet.config)}": eight_bit(
            (weight - before[name]).detach()
        )
        for name, weight in zip(learner.names, learner.weights, strict=True)
    }


def export_inpaint(learner: Inpaint, base: Base, folder: Path) -> None:
    """Write head (float16) and patch (8 bits) in torch's own format."""
    folder.mkdir(parents=True, exist_ok=True)
    head: dict[str, Any] = {"head": learner.head.detach().half()}
    torch.save(head, folder / HEAD_FILE)
    torch.save(patch_values(learner, base), folder / PATCH_FILE)
