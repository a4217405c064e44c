"""Which models are loaded: few, the least recently used leaves first. Device thread only."""

import ctypes
import gc
import logging
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

import torch

from pipeline.catalog import EMBEDDED, EMBEDDINGS, ModelCatalog
from pipeline.choices import NO_MODEL
from pipeline.errors import ModelNotInstalled
from pipeline.lora_paths import lora_path
from pipeline.models.checkpoint import Checkpoint, load_checkpoint
from pipeline.models.lora import ChosenLora, LoraStack
from pipeline.models.refiner import Refiner, load_refiner
from pipeline.tasks import Reporter
from pipeline.text.inversions import InversionLibrary

log = logging.getLogger(__name__)

EMBEDDED_FOLDER: Final = Path(__file__).parent.parent / "embedded" / "model"
_KIND: Final = "checkpoint"
_LORA: Final = "lora"
_REFINER: Final = "refiner"

OnUnloaded = Callable[[str, str], None]
"""Hears, on the device thread, kind and name of each model that has left."""

_Key = tuple[str, int]  # a model's name, and when its file was last changed
_Model = TypeVar("_Model", Checkpoint, Refiner)


class Residency:
    """Owns every loaded model. A model whose file changed on disk is loaded again."""

    def __init__(
        self,
        catalog: ModelCatalog,
        device: torch.device,
        limit: int = 1,
        on_unloaded: OnUnloaded | None = None,
    ) -> None:
        self._catalog = catalog
        self._device = device
        self._limit = limit
        self._on_unloaded = on_unloaded
        self._loaded: OrderedDict[_Key, Checkpoint] = OrderedDict()
        self._refiner: dict[_Key, Refiner] = {}  # one at most, beside the limit

    def checkpoint(
        self, name: str, reporter: Reporter | None = None, refiner: str = NO_MODEL
    ) -> Checkpoint:
        """The model of that name, loaded if need be; ``refiner`` is the one that it is wanted with.

        Raises ModelNotFound, InvalidModelFile.
        """
        path = self._catalog.checkpoint(name) or EMBEDDED_FOLDER
        key = _key(name, path)
        if key in self._loaded:
            self._loaded.move_to_end(key)
            return self._loaded[key]
        self._make_room(refiner)
        self._loaded[key] = self._timed(_KIND, name, reporter, lambda: self._load(name, path))
        return self._loaded[key]

    def refiner(self, name: str, reporter: Reporter | None = None) -> Refiner | None:
        """The refiner of that name, loaded if need be; None for "None".

        Raises ModelNotFound, InvalidModelFile.
        """
        if name == NO_MODEL:
            return None
        path = self._catalog.checkpoint(name, ("refiner_model_name",)) or EMBEDDED_FOLDER
        key = _key(name, path)
        if key not in self._refiner:
            self._drop_refiner()
            self._refiner[key] = self._timed(
                _REFINER, name, reporter, lambda: load_refiner(path, self._device)
            )
        return self._refiner[key]

    def put_loras(
        self,
        checkpoint: Checkpoint,
        refiner: Refiner | None,
        loras: Sequence[tuple[str, float]],
        reporter: Reporter,
    ) -> None:
        """Have exactly these (name, weight) in the models; kept as long as the same are asked for.

        A refiner takes what fits it, as in Fooocus. Raises ModelNotFound, ModelNotInstalled,
        InvalidModelFile.
        """
        chosen = [ChosenLora(name, lora_path(name, self._catalog), w) for name, w in loras]
        stacks = {"loras": checkpoint.loras}
        if refiner:
            stacks["refiner_loras"] = refiner.loras
        for note, stack in stacks.items():
            fits = self._put(stack, chosen, reporter)
            if fits:
                reporter.note(note, fits)

    def _put(self, stack: LoraStack, chosen: Sequence[ChosenLora], reporter: Reporter) -> list[str]:
        """Put them in if they are not; how each of them fits."""
        if stack.has(chosen):
            return [str(fit) for fit in stack.use(chosen)]
        for lora in chosen:
            reporter.model(_LORA, lora.name, None)
        started = time.perf_counter()
        fits = [str(fit) for fit in stack.use(chosen)]
        seconds = time.perf_counter() - started
        log.info("%d LoRAs put into the model in %.1f s", len(chosen), seconds)
        for lora in chosen:
            reporter.model(_LORA, lora.name, round(seconds, 3))
        for fit in fits:
            log.info("LoRA %s", fit)
        return fits

    def release(self) -> tuple[str, ...]:
        """Drop every model and give their memory back; names of what was dropped."""
        models = [(_KIND, name) for name, _ in self._loaded]
        models += [(_REFINER, name) for name, _ in self._refiner]
        self._loaded.clear()
        self._refiner.clear()
        self._free()
        for kind, name in models:
            self._tell_unloaded(kind, name)
        return tuple(name for _, name in models)

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

    def _timed(
        self, kind: str, name: str, reporter: Reporter | None, load: Callable[[], _Model]
    ) -> _Model:
        if reporter:
            reporter.model(kind, name, None)
        started = time.perf_counter()
        model = load()
        seconds = time.perf_counter() - started
        log.info("loaded %s %s on %s in %.1f s", kind, name, self._device, seconds)
        if reporter:
            reporter.model(kind, name, round(seconds, 3))
        return model

    def _make_room(self, refiner: str) -> None:
        """Before loading, so that of large models no more than needed are there at once."""
        if refiner not in (name for name, _ in self._refiner):
            self._drop_refiner()
        if len(self._loaded) < self._limit:
            return
        while len(self._loaded) >= self._limit:
            (name, _), _ = self._loaded.popitem(last=False)
            self._tell_unloaded(_KIND, name)
        self._free()

    def _drop_refiner(self) -> None:
        for name, _ in self._refiner:
            self._tell_unloaded(_REFINER, name)
        if self._refiner:
            self._refiner.clear()
            self._free()

    def _tell_unloaded(self, kind: str, name: str) -> None:
        log.info("unloaded %s %s from %s", kind, name, self._device)
        if self._on_unloaded is not None:
            self._on_unloaded(kind, name)

    def _free(self) -> None:
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        elif self._device.type == "mps":
            torch.mps.empty_cache()
        _trim_heap()


def _trim_heap() -> None:
    """Hand freed memory back to the system: glibc keeps freed blocks of up to 32 MiB to itself."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
        if trim is not None:
            trim(0)


def _key(name: str, path: Path) -> _Key:
    """Raises ModelNotInstalled; a catalog's path is there, so it can only be the embedded one."""
    if not path.exists():
        raise ModelNotInstalled(f"the files of {name} are missing; fetch the project again")
    return name, path.stat().st_mtime_ns
