"""Loads models on demand and keeps them in a cache. A file that changed on disk is loaded again."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import is_
from pathlib import Path
from typing import Final, TypeVar, cast

import torch

from bus.events import now_ms
from pipeline.errors import InvalidModelFile
from pipeline.files.catalog import CHECKPOINTS, EMBEDDINGS, LORAS, VAES, Field
from pipeline.files.locate import ModelFiles
from pipeline.files.registry import INTERPOSER
from pipeline.memory.cache import Budgets, CacheEntry, ModelCache, choose_budgets
from pipeline.memory.cache_key import (
    FollowsBase,
    MappedFiles,
    ModelSource,
    file_bytes,
    model_source,
    parts_of,
    variant_of,
)
from pipeline.memory.release import release_memory
from pipeline.models.checkpoint import Checkpoint, load_checkpoint
from pipeline.models.diffusers_model import DiffusersModel, load_diffusers_model
from pipeline.models.refiner import Refiner, load_refiner
from pipeline.models.vae import Vae
from pipeline.models.vae_files import load_vae
from pipeline.request.choices import DEFAULT_VAE, EMBEDDED, NO_MODEL
from pipeline.request.model_file import ModelFile
from pipeline.scheduling.engine_protocol import LoadedModel
from pipeline.scheduling.task import Reporter
from pipeline.weights.lease import ReadLease
from pipeline.weights.lora import ChosenLora, LoraStack
from pipeline.weights.stored import is_mapped
from pipeline.weights.textual_inversion import SUFFIXES, InversionLibrary, named_inversions

log = logging.getLogger(__name__)

EMBEDDED_FOLDER: Final = Path(__file__).parent.parent / "embedded" / "model"
_CHECKPOINT: Final = "checkpoint"
_LORA: Final = "lora"
_REFINER: Final = "refiner"
_VAE: Final = "vae"

OnUnloaded = Callable[[str, str], None]
"""Called on the device thread with kind and name of each model that has left the device."""

T = TypeVar("T")


class ModelManager:
    """Every loaded model of one device, on the device thread."""

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
        self._cache = ModelCache(device, budgets or choose_budgets(device), self._tell_unloaded)
        self._admitted: dict[tuple[str, str], ModelFile] = {}
        self._has_unloaded = False  # since memory was last released
        self._loaded: tuple[LoadedModel, ...] = ()  # replaced whole: other threads read it

    def loaded(self) -> tuple[LoadedModel, ...]:
        """The models on the device, with the LoRAs in their weights. Any thread may call it."""
        return self._loaded

    def begin_task(self, files: Iterable[ModelFile] = ()) -> None:
        """Call before each task: models of earlier tasks may be evicted from now on.

        ``files`` are those that were looked up for the task when it was admitted.
        """
        self._admitted = {(file.folder, file.name): file for file in files}
        self._cache.end_use()

    def done_with(self, kind: str, name: str) -> None:
        """The running task no longer needs this model: it may be evicted."""
        self._cache.end_use(lambda entry: (entry.kind, entry.name) == (kind, name))

    def checkpoint(
        self, name: str, reporter: Reporter | None = None, refiner: str = NO_MODEL
    ) -> Checkpoint:
        """The checkpoint ``name``, loaded if need be. The refiner of the same task, if loaded, is
        kept meanwhile.

        Raises ModelNotFound, ModelNotInstalled, DownloadFailed, InvalidModelFile.
        """
        source = model_source(_CHECKPOINT, name, self._path(name, ("base_model_name",), reporter))
        self._cache.keep_in_use(_REFINER, refiner)
        return self._get(source, lambda path: self._load(name, path), reporter)

    def diffusers_model(self, name: str, reporter: Reporter | None = None) -> DiffusersModel:
        """The checkpoint folder ``name`` as a pipeline of diffusers, loaded if need be.

        Raises what ``checkpoint`` does.
        """
        source = model_source(_CHECKPOINT, name, self._path(name, ("base_model_name",), reporter))
        return self._get(source, self._load_diffusers, reporter)

    def refiner(self, name: str, reporter: Reporter | None = None) -> Refiner | None:
        """The refiner ``name``, loaded if need be; None for "None".

        Raises what ``checkpoint`` does.
        """
        if name == NO_MODEL:
            return None
        source = model_source(_REFINER, name, self._path(name, ("refiner_model_name",), reporter))
        interposer = self._files.models_dir / INTERPOSER.folder / INTERPOSER.name

        def load(path: Path) -> Refiner:
            return load_refiner(path, self._device, interposer=interposer)

        refiner = self._get(source, load, reporter)
        if refiner.bridge is not None and reporter:
            reporter.note("refiner", f"{name} has latents of its own: it takes over as by vae")
        return refiner

    def vae(self, name: str, checkpoint: Checkpoint, reporter: Reporter | None = None) -> Vae:
        """The VAE file ``name`` for this checkpoint, loaded if need be; for "Default (model)" the
        checkpoint's own.

        Raises what ``checkpoint`` does.
        """
        if name in (DEFAULT_VAE, NO_MODEL):
            return checkpoint.vae
        path = self._located(VAES, name, ("vae_name",), reporter)
        config, placement = checkpoint.vae_config, checkpoint.placement
        source = model_source(_VAE, name, path, variant=variant_of(config))
        return self._get(source, lambda each: load_vae(each, config, placement), reporter)

    def auxiliary(
        self,
        kind: str,
        name: str,
        path: Path,
        load: Callable[[Path], T],
        *,
        base: Checkpoint | None = None,
        reporter: Reporter | None = None,
    ) -> T:
        """Any other model, such as an upscaler or a control network, in use until ``done_with`` or
        the end of the task.

        ``load`` reads it onto the device. A module, or a model with ``parts``, can be offloaded;
        any other is dropped when room is needed. ``base``: the checkpoint whose modules it uses; it
        is loaded for that one and dropped with it. Raises what ``load`` does.
        """
        variant = "" if base is None else str(id(base))
        return self._get(model_source(kind, name, path, variant, base), load, reporter)

    def fetch_inversions(self, texts: Sequence[str], reporter: Reporter) -> None:
        """Download missing textual inversions that texts name; notes those that cannot be had.

        Raises DownloadFailed.
        """
        library = InversionLibrary(self._files.models_dir / EMBEDDINGS)
        missing = [name for name in named_inversions(texts) if library.path(name) is None]
        published = self._files.published() if missing and self._files.allowed else {}
        lost = []
        for name in missing:
            # Presets name the suffix too, prompts mostly not.
            found = (published.get((EMBEDDINGS, name + ending)) for ending in ("", *SUFFIXES))
            if (file := next(filter(None, found), None)) is None:
                lost.append(name)
            else:
                self._files.require(file, reporter)
        if lost:
            told = f"the prompt names embeddings that are not there: {', '.join(lost)}"
            reporter.note("unknown_embeddings", told)

    def put_loras(
        self,
        checkpoint: Checkpoint,
        refiner: Refiner | None,
        loras: Sequence[tuple[str, float]],
        reporter: Reporter,
        patch: ChosenLora | None = None,
    ) -> None:
        """Patch the models with exactly these (name, weight), unless they are in already.

        A refiner takes the changes that fit it, as in Fooocus; ``patch`` is for the checkpoint
        alone. Raises what ``checkpoint`` does.
        """
        chosen = [
            ChosenLora(name, self._located(LORAS, name, ("loras",), reporter), weight)
            for name, weight in loras
        ]
        with_patch = [*chosen, patch] if patch else chosen
        stacks = {"loras": (checkpoint.loras, with_patch)}
        if refiner:
            stacks["refiner_loras"] = (refiner.loras, chosen)
        for note, (stack, own) in stacks.items():
            fits = self._put(stack, own, reporter)
            self._cache.update_backup(stack)
            if fits:
                reporter.note(note, fits)
        self._follow(checkpoint)

    def _follow(self, checkpoint: Checkpoint) -> None:
        """Rebind shared weights, or models that share them would keep the replaced ones alive."""
        for entry in self._cache.entries():
            if entry.depends_on is checkpoint and isinstance(entry.value, FollowsBase):
                entry.value.follow_base()

    def _put(self, stack: LoraStack, chosen: Sequence[ChosenLora], reporter: Reporter) -> list[str]:
        """Patch one model; a line about how each LoRA fits."""
        if stack.has(chosen):
            return [str(fit) for fit in stack.use(chosen)]
        for lora in chosen:
            reporter.model(_LORA, lora.name, None)
        started = time.perf_counter()
        fits = [str(fit) for fit in stack.use(chosen)]
        seconds = time.perf_counter() - started
        log.info("%d LoRAs put into the model in %.1f s", len(chosen), seconds)
        self._note_loras(stack, round(seconds, 3))
        for lora in chosen:
            reporter.model(_LORA, lora.name, round(seconds, 3))
        for fit in fits:
            log.info("LoRA %s", fit)
        return fits

    def _note_loras(self, stack: LoraStack, seconds: float) -> None:
        since = now_ms()
        loras = tuple(
            LoadedModel(kind=_LORA, name=name, seconds=seconds, since_mills=since)
            for name in stack.names
        )
        for entry in self._cache.entries():
            if getattr(entry.value, "loras", None) is stack:
                entry.loras = loras
        self._refresh_loaded()

    def check_files(self) -> None:
        """Look at the mapped files of the models in use, which are too large to be copied.

        Raises InvalidModelFile, and drops the model, if one was changed or replaced: what is on
        disk now are not the weights that the task began with.
        """
        for entry in self._cache.entries():
            if entry.mapped is not None and entry.in_use and entry.mapped.has_changed:
                self._cache.drop(partial(is_, entry))
                entry.mapped.lease.release()
                raise InvalidModelFile(
                    f"the model {entry.name} was changed while it was used; try again when its file"
                    " is whole"
                )

    def release(self) -> tuple[str, ...]:
        """Drop every model and release the memory; names of what was dropped."""
        names = tuple(entry.name for entry in self._cache.drop(lambda _held: True))
        self._has_unloaded = False
        release_memory(self._device)
        return names

    def _path(self, name: str, field: Field, reporter: Reporter | None) -> Path:
        if name == EMBEDDED:
            return EMBEDDED_FOLDER
        return self._located(CHECKPOINTS, name, field, reporter)

    def _located(self, folder: str, name: str, field: Field, reporter: Reporter | None) -> Path:
        """The path of a file, fetched if need be; one that no task was admitted with is looked up.

        Raises ModelNotFound, ModelNotInstalled, DownloadFailed, TaskAborted.
        """
        file = self._admitted.get((folder, name)) or self._files.look_up(folder, name, field)
        return self._files.require(file, reporter)

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

    def _load_diffusers(self, path: Path) -> "DiffusersModel":
        return load_diffusers_model(path, self._device)

    def _get(self, source: ModelSource, load: Callable[[Path], T], reporter: Reporter | None) -> T:
        """The model from the cache, from main memory, or from its file."""
        key = source.key
        entry = self._cache.find(key)
        if entry is not None and entry.mapped is not None and entry.mapped.has_changed:
            entry.mapped.lease.release()
            entry = None
        if entry is None:
            self._cache.drop(lambda other: (other.kind, other.name) == (key.kind, key.name))
            entry = self._read(source, load, reporter)
            self._cache.put(key, entry)
            self._release_if_unloaded()
            self._tell_loaded(entry, reporter)
        elif not entry.on_device:
            offloaded = entry
            self._make_room(offloaded.size_bytes)
            _, entry.seconds = self._timed(source, reporter, lambda: self._cache.reload(offloaded))
            self._tell_loaded(entry, reporter)
        return cast(T, entry.value)

    def _read(
        self, source: ModelSource, load: Callable[[Path], T], reporter: Reporter | None
    ) -> CacheEntry:
        size = file_bytes(source.path)
        self._make_room(size)
        path, stamp = source.path, source.key.stamp
        mapped = MappedFiles(path, stamp, ReadLease(path)) if is_mapped(path) else None
        value, seconds = self._timed(source, reporter, lambda: load(path))
        key = source.key
        entry = CacheEntry(key.kind, key.name, value, parts_of(value), source.depends_on)
        entry.seconds = seconds
        entry.mapped = mapped
        entry.size_bytes = entry.size_bytes or size
        return entry

    def _make_room(self, size_bytes: int) -> None:
        """Evict before loading, so that old and new model are never in memory together."""
        self._cache.make_room(size_bytes)
        self._release_if_unloaded()

    def _timed(
        self, source: ModelSource, reporter: Reporter | None, load: Callable[[], T]
    ) -> tuple[T, float]:
        """What ``load`` returns, and the seconds that it took."""
        kind, name = source.key.kind, source.key.name
        if reporter:
            reporter.model(kind, name, None)
        started = time.perf_counter()
        model = load()
        seconds = time.perf_counter() - started
        log.info("loaded %s %s on %s in %.1f s", kind, name, self._device, seconds)
        return model, round(seconds, 3)

    def _tell_loaded(self, entry: CacheEntry, reporter: Reporter | None) -> None:
        self._refresh_loaded()
        if reporter:
            reporter.model(entry.kind, entry.name, entry.seconds)

    def _refresh_loaded(self) -> None:
        loaded: list[LoadedModel] = []
        for entry in self._cache.entries():
            if entry.on_device:
                own = LoadedModel(
                    kind=entry.kind,
                    name=entry.name,
                    seconds=entry.seconds,
                    since_mills=entry.since_mills,
                )
                loaded += [own, *entry.loras]
        self._loaded = tuple(loaded)

    def _tell_unloaded(self, entry: CacheEntry) -> None:
        self._has_unloaded = True
        self._refresh_loaded()
        log.info("unloaded %s %s from %s", entry.kind, entry.name, self._device)
        if self._on_unloaded is not None:
            self._on_unloaded(entry.kind, entry.name)

    def _release_if_unloaded(self) -> None:
        if self._has_unloaded:
            self._has_unloaded = False
            release_memory(self._device)
