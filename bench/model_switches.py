"""Does memory stay flat when tasks go back and forth between models and LoRAs?"""

import argparse
import statistics
import tempfile
from pathlib import Path

import psutil
import torch
from safetensors.torch import save_file
from torch import nn

from pipeline.files.catalog import ModelCatalog
from pipeline.files.locate import ModelFiles
from pipeline.memory.cache import GIB, Budgets
from pipeline.models.manager import EMBEDDED_FOLDER, ModelManager
from pipeline.request.choices import EMBEDDED
from pipeline.scheduling.task import MadeImage
from tests.integration.tiny_sdxl import make_weights, write_configs, write_folder

WARM_UP = 40
CPU = torch.device("cpu")
BUDGETS = {"each switch reads the file": Budgets(1, 1), "both stay": Budgets(4 * GIB, 4 * GIB)}


class Nobody:
    """Hears what tasks are told, and keeps nothing."""

    def check(self) -> None: ...

    def progress(self, percent: int, message: str, *, step: int = 0, steps: int = 0) -> None: ...

    def begin_image(self, image: int, images: int) -> None: ...

    def wants_preview(self) -> bool:
        """Never."""
        return False

    def preview(self, data: bytes, mime: str) -> None: ...

    def image(self, made: MadeImage) -> None: ...

    def note(self, key: str, value: object) -> None: ...

    def model(self, kind: str, name: str, seconds: float | None) -> None: ...


def write_models(folder: Path, *, tiny: bool) -> tuple[str, str]:
    """Two models; their names."""
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir()
    if not tiny:
        (checkpoints / "twin").symlink_to(EMBEDDED_FOLDER)
        return EMBEDDED, "twin"
    for name in ("a", "b"):
        write_folder(checkpoints / name, make_weights(write_configs(checkpoints / name)))
    return "a", "b"


def write_loras(folder: Path, unet: nn.Module) -> list[str]:
    """Three LoRAs for every attention matrix of the network."""
    (folder / "loras").mkdir()
    names = [f"lora{i}.safetensors" for i in range(3)]
    for name in names:
        tensors = {}
        for path, module in unet.named_modules():
            if isinstance(module, nn.Linear) and ".attn" in path:
                key = f"lora_unet_{path.replace('.', '_')}"
                tensors[f"{key}.lora_up.weight"] = torch.randn(module.out_features, 4)
                tensors[f"{key}.lora_down.weight"] = torch.randn(4, module.in_features)
        save_file(tensors, folder / "loras" / name)
    return names


def measure(folder: Path, models: tuple[str, str], budgets: Budgets, switches: int) -> list[float]:
    """Resident MB after each switch of model and LoRA."""
    files = ModelFiles(ModelCatalog(folder), allowed=False)
    manager = ModelManager(files, CPU, budgets)
    names = sorted(path.name for path in (folder / "loras").iterdir())
    process = psutil.Process()
    sizes = []
    for number in range(switches):
        manager.begin_task()
        checkpoint = manager.checkpoint(models[number % 2])
        lora = names[number % len(names)]
        manager.put_loras(checkpoint, None, [(lora, 0.5)], Nobody())
        checkpoint.text.encode_one("a red star", clip_skip=2)
        sizes.append(process.memory_info().rss / 2**20)
        del checkpoint
    manager.release()
    return sizes


def main() -> None:
    """Print the resident size after the warm-up and at the end, and the slope between."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--switches", type=int, default=240)
    switches = parser.parse_args().switches
    for kind in ("tiny", "embedded"):
        with tempfile.TemporaryDirectory() as name, torch.inference_mode():
            folder = Path(name)
            models = write_models(folder, tiny=kind == "tiny")
            manager = ModelManager(ModelFiles(ModelCatalog(folder), allowed=False), CPU)
            write_loras(folder, manager.checkpoint(models[0]).unet.module)
            manager.release()
            for how, budgets in BUDGETS.items():
                after = measure(folder, models, budgets, switches)[WARM_UP:]
                slope = statistics.linear_regression(range(len(after)), after).slope
                print(
                    f"{kind}, {how}: {len(after)} switches, {after[0]:.1f} MB to {after[-1]:.1f} MB"
                    f" (most {max(after):.1f}), slope {1024 * slope:+.2f} kB a switch",
                    flush=True,
                )


if __name__ == "__main__":
    main()
