"""Which models are loaded: within budgets, the least recently used leaves first.

Device thread only. A model whose file changed on disk is loaded again.
"""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar, cast

import torch

from pipeline.files.catalog import CHECKPOINTS, EMBEDDINGS, VAES, Field
from pipeline.files.locate import ModelFiles
from pipeline.files.lora_paths import lora_path
from pipeline.files.registry import INTERPOSER
from pipeline.memory.cache import Budgets, Held, Shelf, choose_budgets
from pipeline.memory.cache_key import (
    FollowsBase,
    Wanted,
    file_bytes,
    key_of,
    parts_of,
    variant_of,
)
from pipeline.memory.release import free_memory
from pipeline.models.checkpoint import Checkpoint, load_checkpoint
from pipeline.models.refiner import Refiner, load_refiner
from pipeline.models.vae import Vae
from pipeline.models.vae_files import load_vae
from pipeline.request.choices import DEFAULT_VAE, EMBEDDED, NO_MODEL
from pipeline.scheduling.task import Reporter
from pipeline.weights.lora import ChosenLora, LoraStack
from pipeline.weights.textual_inversion import SUFFIXES, InversionLibrary, named_inversions

log = logging.getLogger(__name__)

EMBEDDED_FOLDER: Final = Path(__file__).parent.parent / "embedded" / "model"
_CHECKPOINT: Final = "checkpoint"
_LORA: Final = "lora"
_REFINER: Final = "refiner"
_VAE: Final = "vae"

OnUnloaded = Callable[[str, str], None]
"""Hears, on the device thread, kind and name of each model that has left the device."""

T = TypeVar("T")


class Residency:
    """Owns every loaded model."""

    def __init__(
        self,
        files: ModelFiles,
        device: torch.device,
        budgets: Budgets | None = None,
        on_unloaded: OnUnloaded | None = None,
    ) -> None:
        self._files = files
        self._device = device
        self._on_unloaded = on_unloaded
        self._shelf = Shelf(device, budgets or choose_budgets(device), self._tell_unloaded)
        self._has_left = False

    def begin_task(self) -> None:
        """What earlier tasks used may leave from now on. Call it before each task."""
        self._shelf.end_use()

    def done_with(self, kind: str, name: str) -> None:
        """This task needs it no more: it may leave when something else wants its room."""
        self._shelf.end_use(lambda held: (held.kind, held.name) == (kind, name))

    def checkpoint(
        self, name: str, reporter: Reporter | None = None, refiner: str = NO_MODEL
    ) -> Checkpoint:
        """The model of that name, loaded if need be; ``refiner`` is the one that it is wanted with.

        Raises ModelNotFound, ModelNotInstalled, DownloadFailed, InvalidModelFile.
        """
        wanted = Wanted(_CHECKPOINT, name, self._path(name, ("base_model_name",), reporter))
        self._shelf.keep_in_use(_REFINER, refiner)
        return self._get(wanted, lambda path: self._load(name, path), reporter)

    def refiner(self, name: str, reporter: Reporter | None = None) -> Refiner | None:
        """The refiner of that name, loaded if need be; None for "None".

        Raises what ``checkpoint`` does.
        """
        if name == NO_MODEL:
            return None
        wanted = Wanted(_REFINER, name, self._path(name, ("refiner_model_name",), reporter))
        interposer = self._files.models_dir / INTERPOSER.folder / INTERPOSER.name

        def load(path: Path) -> Refiner:
            return load_refiner(path, self._device, interposer=interposer)

        refiner = self._get(wanted, load, reporter)
        if refiner.own is not None and reporter:
            reporter.note("refiner", f"{name} has latents of its own: it takes over as by vae")
        return refiner

    def vae(self, name: str, checkpoint: Checkpoint, reporter: Reporter | None = None) -> Vae:
        """The VAE of that file in the checkpoint's place of one, loaded if need be.

        Raises what ``checkpoint`` does.
        """
        if name in (DEFAULT_VAE, NO_MODEL):
            return checkpoint.vae
        path = self._files.named(VAES, name, ("vae_name",), reporter)
        config, placement = checkpoint.vae_config, checkpoint.placement
        wanted = Wanted(_VAE, name, path, variant=variant_of(config))
        return self._get(wanted, lambda each: load_vae(each, config, placement), reporter)

    def auxiliary(
        self,
        kind: str,
        name: str,
        path: Path,
        load: Callable[[Path], T],
        *,
        beside: Checkpoint | None = None,
        reporter: Reporter | None = None,
    ) -> T:
        """Any other model, loaded by ``load`` if need be: an upscaler, a control network.

        ``load`` puts it on the device. A module, or what has ``parts``, may be moved off the device
        and back later; anything else is dropped when room is wanted. ``beside``: the checkpoint
        whose modules it holds on to; it is loaded for that one, and goes when that one goes. It
        stays for this task, or until ``done_with``. Raises what ``load`` does.
        """
        variant = "" if beside is None else str(id(beside))
        wanted = Wanted(kind, name, path, variant, beside)
        return self._get(wanted, load, reporter)

    def fetch_inversions(self, texts: Sequence[str], reporter: Reporter) -> None:
        """Have the textual inversions that texts name; the record says which are not there.

        Raises DownloadFailed.
        """
        library = InversionLibrary(self._files.models_dir / EMBEDDINGS)
        missing = [name for name in named_inversions(texts) if library.path(name) is None]
        lost = [name for name in missing if not self._fetch_inversion(name, reporter)]
        if lost:
            told = f"the prompt names embeddings that are not there: {', '.join(lost)}"
            reporter.note("unknown_embeddings", told)

    def _fetch_inversion(self, name: str, reporter: Reporter) -> bool:
        """Was it to be had? A preset names its file with its ending, a prompt mostly without."""
        found = (self._files.find(EMBEDDINGS, name + ending) for ending in ("", *SUFFIXES))
        known = next((file for file in found if file is not None), None)
        if known is None or not self._files.allowed:
            return False
        self._files.require(known, reporter)
        return True

    def put_loras(
        self,
        checkpoint: Checkpoint,
        refiner: Refiner | None,
        loras: Sequence[tuple[str, float]],
        reporter: Reporter,
        patch: ChosenLora | None = None,
    ) -> None:
        """Have exactly these (name, weight) in the models; kept as long as the same are asked for.

        A refiner takes what fits it, as in Fooocus; the checkpoint alone gets ``patch`` as well.
        Raises what ``checkpoint`` does.
        """
        chosen = [ChosenLora(name, lora_path(name, self._files, reporter), w) for name, w in loras]
        with_patch = [*chosen, patch] if patch else chosen
        stacks = {"loras": (checkpoint.loras, with_patch)}
        if refiner:
            stacks["refiner_loras"] = (refiner.loras, chosen)
        for note, (stack, own) in stacks.items():
            fits = self._put(stack, own, reporter)
            self._shelf.weigh(stack)
            if fits:
                reporter.note(note, fits)
        self._follow(checkpoint)

    def _follow(self, checkpoint: Checkpoint) -> None:
        """Let what shares the checkpoint's weights do so: it would keep replaced ones in memory."""
        for held in self._shelf.items():
            if held.beside is checkpoint and isinstance(held.value, FollowsBase):
                held.value.follow_base()

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
        names = tuple(held.name for held in self._shelf.drop(lambda _held: True))
        self._has_left = False
        free_memory(self._device)
        return names

    def _path(self, name: str, field: Field, reporter: Reporter | None) -> Path:
        if name == EMBEDDED:
            return EMBEDDED_FOLDER
        return self._files.named(CHECKPOINTS, name, field, reporter)

    def _load(self, name: str, path: Path) -> Checkpoint:
        if name == EMBEDDED:
            log.info(
                "%s is a small demonstration model. For SDXL, put a .safetensors checkpoint into %s"
                " and name it in base_model_name, or start with a preset that names it.",
                EMBEDDED,
                self._files.models_dir / CHECKPOINTS,
            )
        inversions = InversionLibrary(self._files.models_dir / EMBEDDINGS)
        return load_checkpoint(path, self._device, inversions)

    def _get(self, wanted: Wanted, load: Callable[[Path], T], reporter: Reporter | None) -> T:
        """From the shelf, from main memory, or from its file."""
        key = key_of(wanted)
        held = self._shelf.find(key)
        if held is None:
            self._shelf.drop(lambda other: (other.kind, other.name) == (wanted.kind, wanted.name))
            held = self._read(wanted, load, reporter)
            self._shelf.put(key, held)
            self._free_if_left()
        elif not held.on_device:
            back = held
            self._room_for(back.size_bytes)
            self._timed(wanted, reporter, lambda: self._shelf.bring_back(back))
        return cast(T, held.value)

    def _read(self, wanted: Wanted, load: Callable[[Path], T], reporter: Reporter | None) -> Held:
        size = file_bytes(wanted.path)
        self._room_for(size)
        value = self._timed(wanted, reporter, lambda: load(wanted.path))
        held = Held(wanted.kind, wanted.name, value, parts_of(value), wanted.beside)
        held.size_bytes = held.size_bytes or size
        return held

    def _room_for(self, size_bytes: int) -> None:
        """Before loading, so that what leaves and what comes are never there at once."""
        self._shelf.make_room(size_bytes)
        self._free_if_left()

    def _timed(self, wanted: Wanted, reporter: Reporter | None, load: Callable[[], T]) -> T:
        kind, name = wanted.kind, wanted.name
        if reporter:
            reporter.model(kind, name, None)
        started = time.perf_counter()
        model = load()
        seconds = time.perf_counter() - started
        log.info("loaded %s %s on %s in %.1f s", kind, name, self._device, seconds)
        if reporter:
            reporter.model(kind, name, round(seconds, 3))
        return model

    def _tell_unloaded(self, held: Held) -> None:
        self._has_left = True
        log.info("unloaded %s %s from %s", held.kind, held.name, self._device)
        if self._on_unloaded is not None:
            self._on_unloaded(held.kind, held.name)

    def _free_if_left(self) -> None:
        if self._has_left:
            self._has_left = False
            free_memory(self._device)
