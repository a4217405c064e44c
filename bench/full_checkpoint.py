"""What does a full-size SDXL file cost without a GPU? One picture of 512x512 in 2 steps.

Without a file it writes one of random weights (7 GB) into a temporary folder first. With --load the
model is only loaded.
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

from pipeline.engine.engine import load_engine
from pipeline.files.catalog import CHECKPOINTS, ModelCatalog
from pipeline.files.library import Library
from pipeline.files.locate import ModelFiles
from pipeline.models.checkpoint import SDXL_BASE, read_configs
from pipeline.request.decode import params_from
from pipeline.request.presets import PresetStore
from pipeline.request.resolved import resolve_params
from pipeline.request.styles import StyleLibrary
from pipeline.request.wildcards import Wildcards
from pipeline.scheduling.task import Task
from tools.embedded.painter import Collector
from tools.make_random_sdxl import write_random_checkpoint
from tools.server_process import ROOT

NAME = "full.safetensors"
REQUEST = {
    "prompt": "a red star on a blue background",
    "base_model_name": NAME,
    "style_selections": [],
    "loras": [],
    "overwrite_step": 2,
    "overwrite_width": 512,
    "overwrite_height": 512,
    "image_seed": 1,
}


class Watch(Collector):
    """Tells how far it is and how much memory that took, and when the model was there."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded_seconds = 0.0

    def progress(self, percent: int, message: str, **_step: int) -> None:
        print(f"  {percent:3} % {message} {peak_bytes() / 1e9:.2f} GB", flush=True)

    def model(self, _kind: str, _name: str, seconds: float | None) -> None:
        self.loaded_seconds = seconds or self.loaded_seconds


def peak_bytes() -> int:
    """The most main memory this process ever had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def measure(file: Path, folder: Path, *, draws: bool) -> None:
    """Print seconds and peak."""
    checkpoints = folder / CHECKPOINTS
    checkpoints.mkdir()
    (checkpoints / NAME).symlink_to(file.resolve())
    presets = PresetStore(ROOT / "presets", "default")
    styles, wildcards = StyleLibrary(ROOT / "sdxl_styles"), Wildcards(ROOT / "wildcards")
    files = ModelFiles(ModelCatalog(folder), allowed=False)
    engine = load_engine("cpu", Library(files, presets, styles, wildcards))
    before = peak_bytes()
    watch = Watch()
    started = time.perf_counter()
    if not draws:
        engine.preload(NAME)
        print(f"loading:        {time.perf_counter() - started:6.1f} s")
        print_peak(file, before)
        return
    request = resolve_params(params_from(REQUEST))
    engine(Task(task_id="0" * 32, request=request, in_queue_mills=0), watch)
    seconds = time.perf_counter() - started
    if len(watch.made) != 1:
        raise RuntimeError("no picture was made")
    print(f"loading:        {watch.loaded_seconds:6.1f} s")
    print(f"the picture:    {seconds - watch.loaded_seconds:6.1f} s (2 steps, 512x512)")
    print_peak(file, before)


def print_peak(file: Path, before: int) -> None:
    """Print sizes."""
    size, peak = file.stat().st_size, peak_bytes()
    print(f"file:           {size / 1e9:6.2f} GB")
    print(f"peak, before:   {before / 1e9:6.2f} GB")
    print(f"peak:           {peak / 1e9:6.2f} GB")
    print(f"beyond the file:{(peak - size) / 1e9:6.2f} GB (goal: 3)")


def main() -> None:
    """Measure the file of the command line, or one made for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--load", action="store_true", help="draw nothing")
    options = parser.parse_args()
    file: Path | None = options.file
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if file is None:
            file = folder / NAME
            write_random_checkpoint(file, read_configs(SDXL_BASE))
        measure(file, folder, draws=not options.load)


if __name__ == "__main__":
    main()
