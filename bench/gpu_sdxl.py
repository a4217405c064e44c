"""How fast is SDXL at 1024x1024, 30 steps, CFG 4, on a GPU? Baseline: diffusers' own pipeline.

Both run in this process on the same random weights, float16, one picture at a time. Then the
network is compiled: seconds, how far the picture is from the one before, and what the first picture
costs in a new process with an empty and with a filled compile cache. ``--toy`` runs all of it on a
model of toy size on the CPU; its figures mean nothing.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline
from PIL import Image
from transformers import CLIPTokenizer

from bench.full_checkpoint import peak_bytes
from bench.toy_sdxl import write_toy_configs
from pipeline.engine.sdxl import SdxlPipeline
from pipeline.models.checkpoint import SDXL_BASE, Checkpoint, load_checkpoint, read_configs
from pipeline.request.decode import params_from
from pipeline.request.plan import ImagePlan, plan_images
from pipeline.request.prompts import PromptSources
from pipeline.request.resolved import resolve_params
from pipeline.request.sizes import ImageSize
from pipeline.request.styles import StyleLibrary
from pipeline.request.wildcards import Wildcards
from pipeline.text.tokenizer import find_tokenizer
from tools.make_random_sdxl import write_random_checkpoint
from tools.server_process import ROOT

PROMPT = "a red star on a blue background"
NEGATIVE = "blurry"
CFG = 4.0
LEAST_PSNR = 35.0
CACHE = "TORCHINDUCTOR_CACHE_DIR"


class Case(NamedTuple):
    """What is made: on which device, how large, in how many steps, how often."""

    device: torch.device
    side: int
    steps: int
    runs: int


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


def draw(checkpoint: Checkpoint, plan: ImagePlan) -> Image.Image:
    """Text, denoising and decoding, as in a task."""
    with torch.inference_mode():
        return SdxlPipeline(checkpoint).make(plan, lambda _index, _guess: None)


def diffusers_pipeline(checkpoint: Checkpoint) -> Callable[[Case], object]:
    """diffusers' pipeline on the same modules; its VAE in float16, as it is loaded by default."""
    unet, clip_l, clip_g, vae = checkpoint.parts
    own_vae: Any = deepcopy(vae)
    scheduler = EulerDiscreteScheduler.from_config(
        EulerDiscreteScheduler.load_config(SDXL_BASE / "scheduler")
    )
    tokenizers = [_tokenizer() for _ in range(2)]
    half = checkpoint.placement.device.type != "cpu"
    pipeline = StableDiffusionXLPipeline(
        vae=own_vae.half() if half else own_vae,
        text_encoder=clip_l,
        text_encoder_2=clip_g,
        tokenizer=tokenizers[0],
        tokenizer_2=tokenizers[1],
        unet=unet,
        scheduler=scheduler,
        add_watermarker=False,
    )
    pipeline.set_progress_bar_config(disable=True)

    def make(case: Case) -> object:
        size = {"width": case.side, "height": case.side}
        return pipeline(
            PROMPT,
            negative_prompt=NEGATIVE,
            num_inference_steps=case.steps,
            guidance_scale=CFG,
            **size,
        )

    return make


def _tokenizer() -> CLIPTokenizer:
    ours = find_tokenizer(None)
    tokenizer = CLIPTokenizer(vocab=dict(ours.vocabulary), merges=list(ours.merges))
    tokenizer.model_max_length = 77
    return tokenizer


def seconds_of(make: Callable[[], object], case: Case) -> tuple[float, float]:
    """Of the first picture, and the median of those after it."""
    times = []
    for _ in range(case.runs + 1):
        started = time.perf_counter()
        make()
        if case.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return times[0], statistics.median(times[1:])


def psnr(first: Image.Image, second: Image.Image) -> float:
    """Decibels between two pictures; infinite for the same."""
    difference = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    error = float((difference**2).mean())
    return float("inf") if error == 0 else 10 * float(np.log10(255.0**2 / error))


def peak_gb(device: torch.device) -> float:
    """Memory: the device's, of a CPU the process's."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated()) / 1e9
    return peak_bytes() / 1e9


def compare(case: Case, file: Path, configs: Path) -> None:
    """Print the table of one process."""
    checkpoint = load_checkpoint(file, case.device, single_file_configs=configs)
    plan = plan_for(case)
    print(f"{case.side}x{case.side}, {case.steps} steps, CFG {CFG:g}, on {_name(case.device)}")
    baseline = diffusers_pipeline(checkpoint)
    _, theirs = seconds_of(lambda: baseline(case), case)
    print(f"diffusers' StableDiffusionXLPipeline: {theirs:8.2f} s a picture")
    _, plain = seconds_of(lambda: draw(checkpoint, plan), case)
    before = draw(checkpoint, plan)
    print(f"ours:                                 {plain:8.2f} s, ratio {plain / theirs:.2f}")
    checkpoint.unet.compile()
    _, compiled = seconds_of(lambda: draw(checkpoint, plan), case)
    alike = psnr(before, draw(checkpoint, plan))
    print(f"ours, compiled, channels last:        {compiled:8.2f} s, ratio {compiled / theirs:.2f}")
    print(f"compiled against not:                 {alike:8.1f} dB (at least {LEAST_PSNR:g})")
    print(f"peak memory:                          {peak_gb(case.device):8.2f} GB")


def first_pictures(options: argparse.Namespace, file: Path, configs: Path, cache: Path) -> None:
    """Print what the first picture costs in processes of their own."""
    for told, wanted in (("not compiled", False), ("empty cache", True), ("filled cache", True)):
        command = [sys.executable, "-m", "bench.gpu_sdxl", "--first", str(file), str(configs)]
        command += ["--device", str(options.device)]
        command += ["--toy"] if options.toy else []
        command += ["--compile"] if wanted else []
        environment = {**os.environ, CACHE: str(cache)}
        ran = subprocess.run(
            command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True
        )
        seconds = float(ran.stdout.split()[-1])
        print(f"first picture, {told + ':':22} {seconds:8.2f} s")


def first_picture(case: Case, file: Path, configs: Path, *, compiled: bool) -> None:
    """Print the seconds of this process's first picture, the model being loaded."""
    checkpoint = load_checkpoint(file, case.device, single_file_configs=configs)
    if compiled:
        checkpoint.unet.compile()
    plan = plan_for(case)
    started = time.perf_counter()
    draw(checkpoint, plan)
    print(time.perf_counter() - started)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--toy", action="store_true", help="a model of toy size, on the CPU")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--runs", type=int, default=3, help="pictures timed, after one that is not")
    parser.add_argument("--first", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--compile", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.toy:
        options.device = "cpu"
    elif options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("there is no CUDA device here; --toy shows that the script runs")
    return options


def main() -> None:
    """Write the random model, then compare and time first pictures."""
    options = _options()
    side, steps = (64, 4) if options.toy else (1024, 30)
    case = Case(torch.device(options.device), side, steps, options.runs)
    if options.first:
        first_picture(case, *options.first, compiled=options.compile)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        file, cache = folder / "random.safetensors", folder / "cache"
        configs = write_toy_configs(folder / "configs") if options.toy else SDXL_BASE
        write_random_checkpoint(file, read_configs(configs))
        os.environ[CACHE] = str(folder / "own")
        compare(case, file, configs)
        first_pictures(options, file, configs, cache)


if __name__ == "__main__":
    main()
