"""What does SDXL cost on a GPU? Baselines: diffusers' own pipeline, eager and compiled.

One run of at most ``--minutes``, the most important figures first: do all samplers and schedules
make on the device what they make on the CPU (small model); then random weights of SDXL's size,
1024x1024, 30 steps, CFG 4: this server's engine and diffusers on the same network in one process,
batches, peak memory, switches between checkpoints, single ways to be faster, and what compiling
costs a new process. What there is no time for, or the machine lacks, is said to be not measured.
``--toy`` runs all of it at toy size on the CPU, to show that it runs; its figures mean nothing.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import torch
from torch import Tensor

from bench.bare_diffusers import diffusers_pipeline, drawing
from bench.full_checkpoint import peak_bytes
from bench.gpu_levers import LEVERS, compiled
from bench.gpu_parity import compare_samplers
from bench.gpu_streams import overlapped, two_streams
from bench.time_budget import TimeBudget
from bench.toy_sdxl import write_toy_configs
from pipeline.engine.sdxl import ImageRun, SdxlPipeline
from pipeline.models.checkpoint import SDXL_BASE, Checkpoint, load_checkpoint, read_configs
from pipeline.request.decode import params_from
from pipeline.request.plan import ImagePlan, plan_images
from pipeline.request.prompts import PromptSources
from pipeline.request.resolved import resolve_params
from pipeline.request.sizes import ImageSize
from pipeline.request.styles import StyleLibrary
from pipeline.request.wildcards import Wildcards
from pipeline.sampling.sigmas import make_sigmas
from tools.make_random_sdxl import write_random_checkpoint
from tools.server_process import ROOT

PROMPT: Final = "a red star on a blue background"
NEGATIVE: Final = "blurry"
CFG: Final = 4.0
BATCHES: Final = (1, 4, 8)
CACHE: Final = "TORCHINDUCTOR_CACHE_DIR"


class Case(NamedTuple):
    """What is made: on which device, how large, in how many steps, how often."""

    device: torch.device
    side: int
    steps: int
    runs: int

    @property
    def is_toy(self) -> bool:
        """Whether nothing is measured but that it runs."""
        return self.device.type == "cpu"


class Bench:
    """One loaded checkpoint and what is measured of it."""

    def __init__(self, case: Case, file: Path, configs: Path, budget: TimeBudget) -> None:
        self._case = case
        self._budget = budget
        self._file, self._configs = file, configs
        self._checkpoint = self.load()
        self._plan = plan_for(case)
        self._pipeline = SdxlPipeline(self._checkpoint)
        self._baseline = 0.0  # seconds of diffusers' single picture

    def load(self) -> Checkpoint:
        """The checkpoint, read from its file."""
        return load_checkpoint(self._file, self._case.device, single_file_configs=self._configs)

    def pictures(self) -> None:
        """A picture by diffusers and by us, one alone and in batches; peak memory."""
        draw = drawing(diffusers_pipeline(self._checkpoint), self._case.steps, CFG)
        ways: dict[str, Callable[[int], object]] = {
            "diffusers": lambda batch: draw(PROMPT, NEGATIVE, self._case.side, batch),
            "ours": self._draw,
        }
        for batch in BATCHES:
            for who, work in ways.items():
                name = f"{who}, batch {batch}"
                with self._budget.part(name, 20.0 + 10.0 * batch) as has_time:
                    if has_time:
                        seconds = self._seconds(partial(work, batch))
                        self._baseline = self._baseline or seconds
                        self._tell(name, seconds, batch)

    def compiled(self) -> None:
        """A picture by each, compiled."""
        with self._budget.part("ours, compiled", 120.0) as has_time:
            if has_time:
                with compiled(self._checkpoint.unet):
                    self._tell("ours, compiled", self._seconds(lambda: self._draw(1)), 1)
        with self._budget.part("diffusers, compiled", 120.0) as has_time:
            if has_time:
                bare: Any = diffusers_pipeline(self._checkpoint)
                bare.unet = torch.compile(bare.unet)
                draw = drawing(bare, self._case.steps, CFG)
                seconds = self._seconds(lambda: draw(PROMPT, NEGATIVE, self._case.side, 1))
                self._tell("diffusers, compiled", seconds, 1)

    def levers(self) -> None:
        """Each way to be faster: seconds of a guess, and how far it is from the plain one."""
        plain, expected = self._guess_seconds(), self._guess()
        print(f"{'a guess (both prompts)':40}{plain * 1e3:10.1f} ms")
        for lever in LEVERS:
            with self._budget.part(lever.name, lever.seconds) as has_time:
                if not has_time:
                    continue
                with lever.apply(self._checkpoint.unet):
                    seconds, made = self._guess_seconds(), self._guess()
                apart = float((made - expected).norm() / expected.norm())
                print(
                    f"{lever.name:40}{seconds * 1e3:10.1f} ms, ratio {seconds / plain:.2f},"
                    f" {apart:.1e} apart"
                )

    def streams(self) -> None:
        """Decoding beside the next picture's steps, and two pictures on two streams."""
        plans = self._plans(4)
        ways: dict[str, Callable[[], object]] = {
            "four pictures, one after the other": lambda: [
                self._pipeline.make(plan, ignore) for plan in plans
            ],
            "four pictures, decoding beside sampling": lambda: overlapped(self._pipeline, plans),
            "four pictures, on two streams": lambda: two_streams(self._pipeline, plans),
        }
        for name, work in ways.items():
            with self._budget.part(name, 40.0) as has_time:
                if has_time:
                    with torch.inference_mode():
                        self._tell(name, self._seconds(work), len(plans))

    def switches(self, other: Path) -> None:
        """From one checkpoint to another and back: both read from their files."""
        for name, file in (("to another checkpoint", other), ("and back", self._file)):
            with self._budget.part(name, 30.0) as has_time:
                if has_time:
                    del self._checkpoint, self._pipeline
                    started = time.perf_counter()
                    self._file = file
                    self._checkpoint = self.load()
                    self._pipeline = SdxlPipeline(self._checkpoint)
                    loaded = time.perf_counter() - started
                    self._draw(1)
                    print(
                        f"switch {name:33}{loaded:10.2f} s, with the first picture"
                        f" {time.perf_counter() - started:.2f} s"
                    )

    def _draw(self, batch: int) -> list[object]:
        runs = [ImageRun(plan, ignore) for plan in self._plans(batch)]
        with torch.inference_mode():
            return list(self._pipeline.make_batch(runs))

    def _plans(self, count: int) -> list[ImagePlan]:
        settings = [
            msgspec.structs.replace(self._plan.sampling, seed=seed) for seed in range(count)
        ]
        return [msgspec.structs.replace(self._plan, sampling=each) for each in settings]

    def _guess(self) -> Tensor:
        """The guided guess of one image at the middle of its schedule."""
        with torch.inference_mode():
            denoiser = self._pipeline.denoiser([self._plan])
            sigmas = make_sigmas(self._plan.sampling, denoiser.model_sampling.levels)
            noise = self._pipeline.noise([self._plan]).initial
            sigma = sigmas[len(sigmas) // 2]
            return denoiser(noise * sigma, sigma)

    def _guess_seconds(self) -> float:
        return self._seconds(self._guess, runs=5 * self._case.runs)

    def _seconds(self, work: Callable[[], object], runs: int = 0) -> float:
        """The median of some calls after one."""
        times = []
        if not self._case.is_toy:
            torch.cuda.reset_peak_memory_stats()
        for _ in range(1 + (runs or self._case.runs)):
            started = time.perf_counter()
            work()
            if not self._case.is_toy:
                torch.cuda.synchronize()
            times.append(time.perf_counter() - started)
        return statistics.median(times[1:])

    def _tell(self, name: str, seconds: float, pictures: int) -> None:
        single = seconds / pictures
        ratio = f"{single / self._baseline:.2f}" if self._baseline else "not measured"
        print(
            f"{name:40}{single:10.3f} s a picture, ratio to diffusers alone {ratio},"
            f" peak {peak_gb(self._case.device):.2f} GB",
            flush=True,
        )


def plan_for(case: Case) -> ImagePlan:
    """One picture as the server makes it by default, styles and LoRAs aside."""
    asked = {
        "prompt": PROMPT,
        "negative_prompt": NEGATIVE,
        "style_selections": [],
        "guidance_scale": CFG,
        "image_seed": 1,
        "overwrite_step": case.steps,
        "aspect_ratios_selection": f"{case.side}*{case.side}",
    }
    sources = PromptSources(StyleLibrary(ROOT / "sdxl_styles"), Wildcards(ROOT / "wildcards"))
    (plan,) = plan_images(resolve_params(params_from(asked)), sources)
    return msgspec.structs.replace(plan, size=ImageSize.same(case.side, case.side))


def ignore(_index: int, _guess: Tensor) -> None:
    """A step that nobody is told of."""


def peak_gb(device: torch.device) -> float:
    """Most memory so far: the device's, of a CPU the process's."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated()) / 1e9
    return peak_bytes() / 1e9


def first_pictures(case: Case, file: Path, configs: Path, budget: TimeBudget) -> None:
    """Print what the first picture costs in processes of their own."""
    with tempfile.TemporaryDirectory() as cache:
        for told, wanted in (
            ("not compiled", False),
            ("empty cache", True),
            ("filled cache", True),
        ):
            with budget.part(f"first picture, {told}", 120.0 if wanted else 30.0) as has_time:
                if not has_time:
                    continue
                command = [sys.executable, "-m", "bench.gpu_sdxl", "--first", str(file)]
                command += [str(configs), "--device", str(case.device)]
                command += ["--toy"] if case.is_toy else []
                command += ["--compile"] if wanted else []
                ran = subprocess.run(
                    command,
                    cwd=ROOT,
                    env={**os.environ, CACHE: cache},
                    check=True,
                    capture_output=True,
                    text=True,
                    timeout=max(1.0, budget.left),
                )
                print(f"first picture, {told:25}{float(ran.stdout.split()[-1]):10.2f} s")


def first_picture(case: Case, file: Path, configs: Path, *, compiled: bool) -> None:
    """Print the seconds of this process's first picture, the model being loaded."""
    checkpoint = load_checkpoint(file, case.device, single_file_configs=configs)
    if compiled:
        checkpoint.unet.compile()
    started = time.perf_counter()
    with torch.inference_mode():
        SdxlPipeline(checkpoint).make(plan_for(case), ignore)
    print(time.perf_counter() - started)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU"


def _options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--toy", action="store_true", help="a model of toy size, on the CPU")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=12.0, help="the whole run's time limit")
    parser.add_argument("--runs", type=int, default=2, help="pictures timed, after one that is not")
    parser.add_argument("--first", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--compile", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.toy:
        options.device = "cpu"
    elif options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("there is no CUDA device here; --toy shows that the script runs")
    return options


def main() -> None:
    """All parts, within the time limit."""
    options = _options()
    side, steps = (64, 4) if options.toy else (1024, 30)
    case = Case(torch.device(options.device), side, steps, options.runs)
    if options.first:
        first_picture(case, *options.first, compiled=options.compile)
        return
    budget = TimeBudget(60 * options.minutes)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        os.environ[CACHE] = str(folder / "own")
        print(f"{case.side}x{case.side}, {case.steps} steps, CFG {CFG:g}, on {_name(case.device)}")
        with budget.part("samplers and schedules against the CPU", 60.0) as has_time:
            if has_time:
                compare_samplers(case.device, few=options.toy)
        configs = write_toy_configs(folder / "configs") if options.toy else SDXL_BASE
        file, other = folder / "random.safetensors", folder / "other.safetensors"
        write_random_checkpoint(file, read_configs(configs))
        other.symlink_to(file)
        bench = Bench(case, file, configs, budget)
        bench.pictures()
        bench.compiled()
        bench.levers()
        bench.streams()
        bench.switches(other)
        first_pictures(case, file, configs, budget)


if __name__ == "__main__":
    main()
