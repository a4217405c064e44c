"""The few-step LoRA: latent consistency distillation (arXiv:2310.04378, arXiv:2311.05556).

The student's guess of the clean picture is to be the same all along one path of the teacher, who
is the embedded model with its preset's guidance; the student needs none.
"""

from pathlib import Path
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pipeline.sampling.adm import SdxlSizes
from pipeline.sampling.guidance import Guidance
from tools.embedded.companions.base import Base, Texts, asked
from tools.embedded.companions.image_prompt import save_half
from tools.embedded.companions.low_rank import LowRank, matrices
from tools.embedded.companions.training import Draws

FILE: Final = "few_step_lora.safetensors"
RANK: Final = 16
WHERE: Final = ("conv_in", "conv_out", "down_blocks", "mid_block", "up_blocks")
GUIDANCE: Final = Guidance(cfg=5.0)  # the embedded preset's
# Below this timestep the teacher goes unguided (arXiv:2404.07724): there guidance five times as
# strong as the prompt adds mostly the model's own error, which few steps leave as grain.
GUIDED_FROM: Final = 400
POINTS: Final = 50  # the student's timesteps: 19, 39, ... 999
SPACING: Final = 20
STEP: Final = 40  # timesteps that the teacher goes at once; fewer take longer to reach the noise
SIGMA_DATA: Final = 0.5
TIME_SCALE: Final = 10.0
HUBER: Final = 0.001


class Level(NamedTuple):
    """Noise at some timesteps, each (B, 1, 1, 1)."""

    alpha: Tensor  # of the clean picture
    sigma: Tensor  # of the noise

    def clean(self, x: Tensor, eps: Tensor) -> Tensor:
        return (x - self.sigma * eps) / self.alpha

    def noisy(self, x0: Tensor, eps: Tensor) -> Tensor:
        return self.alpha * x0 + self.sigma * eps


class FewStep(nn.Module):
    """All that is learned."""

    def __init__(self, base: Base) -> None:
        super().__init__()
        self.low_rank = LowRank(matrices(base.unet, WHERE), RANK)


class FewStepLoss:
    """One consistency step from each picture of a batch."""

    def __init__(self, base: Base, draws: Draws, learner: FewStep) -> None:
        self._base, self._draws, self._learner = base, draws, learner
        self._frozen = dict(base.unet.named_parameters())

    def __call__(self, count: int, rng: torch.Generator) -> Tensor:
        batch, _, _ = self._draws(count, rng)
        texts = self._base.encode(batch.tokens)
        empty = self._base.encode(self._base.empty)
        silence = Texts(*(each.expand_as(own) for each, own in zip(empty, texts, strict=True)))
        point = torch.randint(POINTS, (count,), generator=rng)
        now = point * SPACING + SPACING - 1
        x = self._level(now).noisy(batch.x, batch.eps)
        guess = self._guess(x, now, texts)
        with torch.no_grad():
            nearer = self._teacher_step(x, now, texts, silence)
            target = self._guess(nearer, (now - STEP).clamp(min=0), texts)
            target = torch.where(_is_last(now), nearer, target)
        return ((guess - target).square() + HUBER**2).sqrt().mean() - HUBER

    def _guess(self, x: Tensor, now: Tensor, texts: Texts) -> Tensor:
        """The student's clean picture, in the boundary-respecting form of the ``lcm`` scheduler."""
        weights = self._learner.low_rank.changed(self._frozen)
        given = asked(x, now, texts, self._sizes(x, now, positive=True, plain=True))
        eps = functional_call(self._base.unet, weights, (), given).sample.float()
        scaled = (now * TIME_SCALE).view(-1, 1, 1, 1)
        skip = SIGMA_DATA**2 / (scaled**2 + SIGMA_DATA**2)
        out = scaled / (scaled**2 + SIGMA_DATA**2).sqrt()
        return skip * x + out * self._level(now).clean(x, eps)

    def _teacher_step(self, x: Tensor, now: Tensor, texts: Texts, silence: Texts) -> Tensor:
        """One DDIM step of the guided model towards the clean picture."""
        both = Texts(*(torch.cat(pair) for pair in zip(silence, texts, strict=True)))
        sizes = [self._sizes(x, now, positive=positive, plain=False) for positive in (False, True)]
        given = asked(x.repeat(2, 1, 1, 1), now.repeat(2), both, torch.cat(sizes))
        without, with_ = self._base.unet(**given).sample.float().chunk(2)
        guided = without + GUIDANCE.cfg * (with_ - without)
        eps = torch.where((now >= GUIDED_FROM).view(-1, 1, 1, 1), guided, with_)
        here, there = self._level(now), self._level((now - STEP).clamp(min=0))
        x0 = here.clean(x, eps)
        return torch.where(_is_last(now), x0, there.noisy(x0, eps))

    def _level(self, timesteps: Tensor) -> Level:
        alphas = self._base.noise.alphas[timesteps].view(-1, 1, 1, 1)
        return Level(alphas.sqrt(), (1 - alphas).sqrt())

    @staticmethod
    def _sizes(x: Tensor, now: Tensor, *, positive: bool, plain: bool) -> Tensor:
        """Size conditioning (B, 6), as the server asks the model for it."""
        sizes = SdxlSizes(x.shape[3] * 8, x.shape[2] * 8, GUIDANCE)
        rows = [
            sizes.ids(positive=positive, scaled=not plain and sizes.scaled_at(float(timestep)))
            for timestep in now
        ]
        return torch.tensor(rows, dtype=torch.float32)


def _is_last(now: Tensor) -> Tensor:
    """Where the teacher's next step ends at the clean picture, (B, 1, 1, 1)."""
    return (now < STEP).view(-1, 1, 1, 1)


def lora_tensors(learner: FewStep) -> dict[str, Tensor]:
    """The LoRA in kohya's layout, by diffusers' module names."""
    tensors = {}
    for name, up, down in learner.low_rank.pairs():
        module = "lora_unet_" + name.removesuffix(".weight").replace(".", "_")
        tensors[f"{module}.lora_up.weight"] = up
        tensors[f"{module}.lora_down.weight"] = down
        tensors[f"{module}.alpha"] = torch.tensor(float(down.shape[0]))
    return tensors


def export_few_step(learner: FewStep, folder: Path) -> None:
    """Write the LoRA in float16."""
    save_half(lora_tensors(learner), folder / FILE)
