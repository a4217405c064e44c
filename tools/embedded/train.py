"""Train the UNet and both text encoders: on one GPU, or on CPU processes that share gradients.

The checkpoint is one file with weights ``m``, their moving average ``e``, the optimiser ``o``
and the number of samples seen ``n``; everything else follows from ``n``, so a run that was
ended goes on as if it had not been.
"""

import copy
import logging
import socket
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
import torch.distributed as dist
from torch import nn
from torch.multiprocessing.spawn import spawn

from tools.embedded.architecture import STANDARD, Architecture, build_denoiser
from tools.embedded.dataset import LatentSet, bucket_shares, load_sets, token_ids
from tools.embedded.denoising import Batch, Conditions, Noise, denoising_loss, learning_rate
from tools.embedded.tokenizer import load_tokenizers

log = logging.getLogger(__name__)

EMA_DECAY: Final = 0.9985
SAVE_SECONDS: Final = 180.0
LOG_STEPS: Final = 50


class TrainingPlan(NamedTuple):
    """What to train on and how long. ``batch`` is per process."""

    data_dir: Path
    model_dir: Path  # with the tokenizers
    checkpoint: Path
    steps: int  # in all, those of earlier runs included
    batch: int = 16
    rate: float = 1e-3
    processes: int = 1
    stop_after: int | None = None  # end this run after so many steps in all
    seed: int = 0
    architecture: Architecture = STANDARD


def train(plan: TrainingPlan) -> None:
    """Train up to ``plan.steps``, going on from the checkpoint if there is one."""
    if torch.cuda.is_available() or plan.processes == 1:
        _train_process(0, plan._replace(processes=1), 0)
    else:
        spawn(_train_process, (plan, _free_port()), plan.processes)  # type: ignore[no-untyped-call]


class Trainer:
    """Weights, their average and the optimiser of one process."""

    def __init__(self, plan: TrainingPlan, rank: int) -> None:
        self.plan, self.rank = plan, rank
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.tokenizers = load_tokenizers(plan.model_dir)
        torch.manual_seed(plan.seed)
        self.model = build_denoiser(self.tokenizers, plan.architecture).to(self.device)
        self.average = copy.deepcopy(self.model).eval()
        self.weights = list(self.model.parameters())
        self.optimiser = torch.optim.AdamW(
            self.weights, plan.rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
        )
        self.samples = 0
        if plan.checkpoint.exists():
            self._resume(torch.load(plan.checkpoint, map_location=self.device))
        self.noise = Noise(self.device)
        empty = [token_ids(tokenizer, [""]).to(self.device) for tokenizer in self.tokenizers]
        self.empty = (empty[0], empty[1])
        loaded = load_sets(plan.data_dir, self.tokenizers)
        self.sets = [
            LatentSet(*(part.to(self.device) for part in each)) for each in loaded.values()
        ]
        self.shares = torch.tensor(bucket_shares(list(loaded)))

    @property
    def step_number(self) -> int:
        """Steps done so far, of this batch size."""
        return self.samples // (self.plan.batch * self.plan.processes)

    def step(self) -> torch.Tensor:
        """One step; returns this process's mean squared error above and below the middle noise."""
        step, plan = self.step_number, self.plan
        for group in self.optimiser.param_groups:
            group["lr"] = plan.rate * learning_rate(step, plan.steps)
        batch = self._draw_batch(step)
        with torch.autocast(self.device.type, torch.bfloat16):
            loss, errors = denoising_loss(self.model, batch, self.noise)
        loss.backward()  # type: ignore[no-untyped-call]
        self._share_gradients()
        nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.samples += plan.batch * plan.processes
        decay = min(EMA_DECAY, (step + 1) / (step + 12))
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.average.parameters()), list(self.model.parameters()), 1 - decay
            )
        return errors

    def save(self) -> None:
        """Write the checkpoint whole or not at all."""
        state = {
            "m": self.model.state_dict(),
            "e": self.average.state_dict(),
            "o": self.optimiser.state_dict(),
            "n": self.samples,
        }
        unfinished = self.plan.checkpoint.with_suffix(".part")
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, unfinished)
        unfinished.replace(self.plan.checkpoint)

    def _resume(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["m"])
        self.average.load_state_dict(state["e"])
        if "o" in state:
            self.optimiser.load_state_dict(state["o"])
        self.samples = state.get("n", 0)

    def _draw_batch(self, step: int) -> Batch:
        """The same size in every process, other pictures in each; decided by step and seed."""
        shared = torch.Generator().manual_seed(self.plan.seed * 1_000_003 + step)
        chosen = self.sets[int(torch.multinomial(self.shares, 1, generator=shared))]
        own = torch.Generator().manual_seed((self.plan.seed * 64 + self.rank) * 1_000_003 + step)
        picks = torch.randint(len(chosen.latents), (self.plan.batch,), generator=own)
        picked = LatentSet(*(part[picks.to(self.device)] for part in chosen))
        return Batch.draw(picked, Conditions(*self.empty), own)

    def _share_gradients(self) -> None:
        for weight in self.weights:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        if self.plan.processes == 1:
            return
        gradients = [weight.grad for weight in self.weights if weight.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.plan.processes
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


def _train_process(rank: int, plan: TrainingPlan, port: int) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if plan.processes > 1:
        torch.set_num_threads(1)
        address = f"tcp://127.0.0.1:{port}"
        dist.init_process_group("gloo", address, rank=rank, world_size=plan.processes)
    trainer = Trainer(plan, rank)
    saved = logged = time.monotonic()
    errors: list[torch.Tensor] = []
    last = plan.steps if plan.stop_after is None else min(plan.steps, plan.stop_after)
    while trainer.step_number < last:
        errors.append(trainer.step())
        now = time.monotonic()
        if rank == 0 and len(errors) == LOG_STEPS:
            _log_progress(trainer, errors, (now - logged) / LOG_STEPS)
            logged = now
        if len(errors) == LOG_STEPS:
            errors.clear()
        if rank == 0 and now - saved > SAVE_SECONDS:
            trainer.save()
            saved = now
    if rank == 0:
        trainer.save()
    if plan.processes > 1:
        dist.destroy_process_group()


def _log_progress(trainer: Trainer, errors: list[torch.Tensor], seconds: float) -> None:
    noisy, clean = torch.stack(errors).nanmean(0).tolist()
    log.info(
        "step %d/%d: %d samples seen, %.3f s a step, error %.4f in much noise, %.4f in little",
        trainer.step_number,
        trainer.plan.steps,
        trainer.samples,
        seconds,
        noisy,
        clean,
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
