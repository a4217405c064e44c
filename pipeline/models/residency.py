"""Which models are loaded: few, the least recently used leaves first. Device thread only."""

import gc
import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch

from pipeline.catalog import EMBEDDED, EMBEDDINGS, ModelCatalog
from pipeline.errors import ModelNotInstalled
from pipeline.lora_paths import lora_path
from pipeline.models.checkpoint import Checkpoint, load_checkpoint
from pipeline.models.lora import ChosenLora
from pipeline.tasks import Reporter
from pipeline.text.inversions import InversionLibrary

log = logging.getLogger(__name__)

EMBEDDED_FOLDER: Final = Path(__file__).parent.parent / "embedded" / "model"
_KIND: Final = "checkpoint"
_LORA: Final = "lora"


class Residency:
    """Owns every loaded model. A model whose file changed on disk is loaded again."""

    def __init__(self, catalog: ModelCatalog, device: torch.device, limit: int = 1) -> None:
        self._catalog = catalog
        self._device = device
        self._limit = limit
        self._loaded: OrderedDict[tuple[str, int], Checkpoint] = OrderedDict()

    def checkpoint(self, name: str, reporter: Reporter | None = None) -> Checkpoint:
        """The model of that name, loaded if need be. Raises ModelNotFound, InvalidModelFile."""
        path = self._catalog.checkpoint(name) or EMBEDDED_FOLDER
        if not path.exists():
            raise ModelNotInstalled(f"the files of {name} are missing; fetch the project again")
        key = (name, path.stat().st_mtime_ns)
        if key in self._loaded:
            self._loaded.move_to_end(key)
            return self._loaded[key]
        self._make_room()
        if reporter:
            reporter.model(_KIND, name, None)
        started = time.perf_counter()
        checkpoint = self._load(name, path)
        self._loaded[key] = checkpoint
        seconds = time.perf_counter() - started
        log.info("loaded %s on %s in %.1f s", name, self._device, seconds)
        if reporter:
            reporter.model(_KIND, name, round(seconds, 3))
        return checkpoint

    def put_loras(
        self, checkpoint: Checkpoint, loras: Sequence[tuple[str, float]], reporter: Reporter
    ) -> None:
        """Have exactly these (name, weight) in the model; kept as long as the same are asked for.

        Raises ModelNotFound, ModelNotInstalled, InvalidModelFile.
        """
        chosen = [ChosenLora(name, lora_path(name, self._catalog), w) for name, w in loras]
        if not checkpoint.loras.has(chosen):
            for lora in chosen:
                reporter.model(_LORA, lora.name, None)
            started = time.perf_counter()
            checkpoint.loras.use(chosen)
            seconds = time.perf_counter() - started
            log.info("%d LoRAs put into the model in %.1f s", len(chosen), seconds)
            for lora in chosen:
                reporter.model(_LORA, lora.name, round(seconds, 3))
        fits = [str(fit) for fit in checkpoint.loras.use(chosen)]
        for fit in fits:
            log.info("LoRA %s", fit)
        if fits:
            reporter.note("loras", fits)

    def release(self) -> tuple[str, ...]:
        """Drop every model and give their memory back; names of what was dropped."""
        names = tuple(name for name, _ in self._loaded)
        self._loaded.clear()
        self._free()
        return names

    def _load(self, name: str, path: Path) -> Checkpoint:
        if name == EMBEDDED:
            log.info(
                "%s is a small demonstration model. For SDXL, put a .safetensors checkpoint into %s"
                " and name it in base_model_name, or start with a preset that names it.",
                EMBEDDED,
                self._catalog.models_dir / "checkpoints",
            )
        inversions = InversionLibrary(self._catalog.models_dir / EMBEDDINGS)
        return load_checkpoint(path, self._device, inversions)

    def _make_room(self) -> None:
        """Before loading, so that two large models are never there at once."""
        if len(self._loaded) < self._limit:
            return
        while len(self._loaded) >= self._limit:
            (name, _), _ = self._loaded.popitem(last=False)
            log.info("unloaded %s", name)
        self._free()

    def _free(self) -> None:
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        elif self._device.type == "mps":
            torch.mps.empty_cache()
