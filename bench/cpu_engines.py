"""What does a picture cost on a CPU with each engine? Baseline: diffusers' own SDXL pipeline.

    python -m bench.cpu_engines [--rounds 5] [--prompts 3]

The embedded model at its preset's own settings (256x256, 20 steps of DPM++ 2M SDE Karras, CFG 5),
float32, one thread, processor time of this process. All take turns on the same seed: diffusers'
pipeline on the same weights, and this server's engine with torch, with OpenVINO in float32
(``exact``) and in bfloat16 (``fast``), then four pictures of one task. PSNR is that of the pictures
to those of torch, 8 bits a value. Without openvino (requirements-openvino.txt) only torch runs.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionXLPipeline
from PIL import Image

from pipeline.engine.options import AUTO_BATCH, EngineOptions
from pipeline.models.manager import EMBEDDED_FOLDER
from pipeline.models.openvino_runtime import is_installed
from tools.embedded.painter import Painter

STEPS: Final = 20
SIDE: Final = 256
CFG: Final = 5.0
PROMPTS: Final = (
    "a red star on a blue background",
    "a green circle on a white background",
    "a yellow triangle on a black background",
    "two purple squares on a grey background",
)
TOGETHER: Final = 4
WAIT_S: Final = 300.0

Paint = Callable[[str, int], Image.Image]


def bare_pipeline() -> Paint:
    """diffusers' pipeline with the preset's sampler."""
    pipeline: Any = StableDiffusionXLPipeline.from_pretrained(
        EMBEDDED_FOLDER, torch_dtype=torch.float32, add_watermarker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(
        pipeline.scheduler.config, algorithm_type="sde-dpmsolver++", use_karras_sigmas=True
    )

    def paint(prompt: str, seed: int) -> Image.Image:
        made = pipeline(
            prompt,
            num_inference_steps=STEPS,
            guidance_scale=CFG,
            width=SIDE,
            height=SIDE,
            generator=torch.Generator().manual_seed(seed),
        )
        image: Image.Image = made.images[0]
        return image

    return paint


def painters(folder: Path, *, together: bool) -> dict[str, Paint]:
    """This server's engine in each way, its networks prepared."""
    ways: dict[str, tuple[EngineOptions, Mapping[str, Any]]] = {"torch": (EngineOptions(), {})}
    if is_installed():
        ways["exact"] = EngineOptions(cpu_engine="openvino"), {}
        ways["fast"] = EngineOptions(cpu_engine="openvino", precision="fast"), {}
    several = {"image_number": TOGETHER}
    for name, (options, _) in list(ways.items()) if together else ():
        batched = msgspec.structs.replace(options, batch=AUTO_BATCH)
        ways[f"{name}, {TOGETHER} of a task"] = batched, several
    made = {
        name: Painter("cpu", changes, options, models_dir=folder)
        for name, (options, changes) in ways.items()
    }
    for painter in made.values():
        painter(PROMPTS[0], 0)
        if not painter.wait_for_engines(WAIT_S):
            raise RuntimeError("the networks were not prepared in time")
    return dict(made)


def timed(paint: Paint, prompt: str, seed: int) -> tuple[Image.Image, float]:
    """A picture, and the seconds of processor time that it took."""
    started = time.process_time()
    image = paint(prompt, seed)
    return image, time.process_time() - started


def decibels(image: Image.Image, expected: Image.Image) -> float:
    """PSNR of 8-bit pictures."""
    first, second = (np.asarray(each, np.float64) for each in (image, expected))
    error = float(np.mean((first - second) ** 2))
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def main() -> None:
    """A line for each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="seeds of each prompt")
    parser.add_argument("--prompts", type=int, default=3, choices=range(1, len(PROMPTS) + 1))
    parser.add_argument("--single", action="store_true", help="leave out several of one task")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        ways = painters(Path(folder), together=not options.single)
        bare = bare_pipeline()
        bare(PROMPTS[0], 0)
        ratios: dict[str, list[float]] = {name: [] for name in ways}
        found: dict[str, list[float]] = {name: [] for name in ways}
        seconds = []
        for prompt in PROMPTS[: options.prompts]:
            for seed in range(1, options.rounds + 1):
                _, base = timed(bare, prompt, seed)
                seconds.append(base)
                pictures = {}
                for name, paint in ways.items():
                    pictures[name], took = timed(paint, prompt, seed)
                    count = TOGETHER if name.endswith("task") else 1
                    ratios[name].append(took / (base * count))
                    found[name].append(decibels(pictures[name], pictures["torch"]))
    print(f"diffusers' pipeline: {statistics.median(seconds):.2f} s of processor time a picture")
    for name, own in ratios.items():
        quality = sorted(found[name])
        told = "" if name == "torch" else f", PSNR to torch: {quality[0]:.1f} dB at least"
        told += "" if name == "torch" else f", {statistics.median(quality):.1f} mostly"
        print(f"{name:22} {statistics.median(own):.3f} of diffusers' time a picture{told}")


if __name__ == "__main__":
    main()
