"""The loop that all companions share: one process, checkpoints, an average of the weights.

A run that was ended goes on from its checkpoint as if it had not been: all that is random in a
step follows from the step's number.
"""

import copy
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from tools.embedded.companions.base import Base
from tools.embedded.companions.pictures import PictureSet
from tools.embedded.dataset import bucket_shares
from tools.embedded.denoising import Batch, learning_rate

log = logging.getLogger(__name__)

EMA_DECAY: Final = 0.997
SAVE_STEPS: Final = 100
LOG_STEPS: Final = 25


Learner = TypeVar("Learner", bound=nn.Module)


class Plan(NamedTuple):
    """How long and how fast to learn. ``steps`` counts earlier runs of the checkpoint too."""

    checkpoint: Path
    steps: int
    batch: int
    rate: float
    stop_after: int | None = None
    seed: int = 0


class Trained(NamedTuple, Generic[Learner]):
    """The averaged module, what was seen, and for how long (all runs together)."""

    average: Learner
    samples: int
    seconds: float


LossOf = Callable[[int, torch.Generator], Tensor]


def fit(learner: Learner, loss_of: LossOf, plan: Plan) -> Trained[Learner]:
    """Minimise ``loss_of(batch size, random numbers)`` over ``learner``'s weights."""
    average = copy.deepcopy(learner)
    weights = [weight for weight in learner.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, plan.rate, betas=(0.9, 0.98), weight_decay=0.01)
    parts: dict[str, Any] = {"m": learner, "e": average, "o": optimiser}
    step, seconds = _resume(parts, plan.checkpoint)
    last = min(plan.steps, plan.stop_after or plan.steps)
    losses: list[float] = []
    started = time.monotonic()
    while step < last:
        for group in optimiser.param_groups:
            group["lr"] = plan.rate * learning_rate(step, plan.steps)
        rng = torch.Generator().manual_seed(plan.seed * 1_000_003 + step)
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(plan.batch, rng)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        step += 1
        _follow(average, learner, min(EMA_DECAY, step / (step + 12)))
        losses.append(loss.item())
        if step % SAVE_STEPS == 0 or step == last:
            now = time.monotonic()
            seconds, started = seconds + now - started, now
            _save(parts, step, seconds, plan.checkpoint)
        if step % LOG_STEPS == 0:
            mean = sum(losses[-LOG_STEPS:]) / len(losses[-LOG_STEPS:])
            log.info("%s step %d/%d: loss %.4f", plan.checkpoint.stem, step, plan.steps, mean)
    return Trained(average.eval(), step * plan.batch, seconds)


class Draws:
    """Batches from the sets, in their sizes' shares, decided by the random numbers alone."""

    def __init__(self, base: Base, sets: dict[tuple[int, int], PictureSet]) -> None:
        self._base = base
        self._sets = list(sets.values())
        self._shares = torch.tensor(bucket_shares(list(sets)))

    def __call__(self, count: int, rng: torch.Generator) -> tuple[Batch, PictureSet, Tensor]:
        """A batch, the set that it is from, and which of the set's pictures are in it."""
        chosen = self._sets[int(torch.multinomial(self._shares, 1, generator=rng))]
        numbers = torch.randint(len(chosen.latents), (count,), generator=rng)
        return Batch.draw(chosen.pick(numbers), self._base.empty, rng), chosen, numbers


def _resume(parts: dict[str, Any], checkpoint: Path) -> tuple[int, float]:
    if not checkpoint.exists():
        return 0, 0.0
    state = torch.load(checkpoint, map_location="cpu")
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return state["step"], state["seconds"]


def _save(parts: dict[str, Any], step: int, seconds: float, checkpoint: Path) -> None:
    """Write the checkpoint whole or not at all."""
    state = {name: part.state_dict() for name, part in parts.items()}
    batch = {"step": step, "seconds": seconds}
    unfinished = checkpoint.with_suffix(".part")
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state | batch, unfinished)
    unfinished.replace(checkpoint)


@torch.no_grad()
def _follow(average: nn.Module, learner: nn.Module, decay: float) -> None:
    torch._foreach_lerp_(list(average.parameters()), list(learner.parameters()), 1 - decay)
