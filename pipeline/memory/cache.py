"""Least-recently-used cache of loaded models, within a device budget and a main-memory budget.

An idle model that no longer fits on an accelerator is offloaded to main memory, from where it
comes back by a copy instead of a read; one that cannot be offloaded is dropped.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import nn

from bus.events import now_ms
from pipeline.memory.cache_key import MappedFiles, MeasuresItself
from pipeline.scheduling.engine_protocol import LoadedModel
from pipeline.weights.lora import LoraStack
from pipeline.weights.main_memory import memory_bytes

GIB: Final = 2**30
_RAM: Final = torch.device("cpu")

# Activations of a picture, and the least and default shares of the memory for models.
_WORKING_BYTES: Final = 3 * GIB
_LEAST_SHARE: Final = 0.4
_ONE_MEMORY_SHARE: Final = 0.6  # CPU and MPS: models and activations share main memory
_OFFLOADED_SHARE: Final = 0.5  # of main memory, for models offloaded from an accelerator


class Budgets(NamedTuple):
    """Bytes that models may take. On CPU and MPS the two are one memory and the first counts."""

    device_bytes: int
    ram_bytes: int


class CacheEntry:
    """One loaded model with its size and whereabouts.

    ``parts`` are its modules; without any it can be dropped, not offloaded. ``depends_on`` is the
    value of the entry whose modules it uses, if any.
    """

    def __init__(
        self,
        kind: str,
        name: str,
        value: Any,
        parts: Sequence[nn.Module],
        depends_on: object = None,
    ) -> None:
        self.kind = kind
        self.name = name
        self.value = value
        self.parts = tuple(parts)
        self.depends_on = depends_on
        self._size_bytes = sum(map(module_bytes, self.parts))
        self.backup_bytes = 0  # in main memory: originals of the weights that LoRAs changed
        self.mapped: MappedFiles | None = None  # where its weights were not copied
        self.on_device = True
        self.in_use = True
        self.seconds = 0.0  # that loading took
        self.since_mills = now_ms()
        self.loras: tuple[LoadedModel, ...] = ()  # in its weights

    @property
    def size_bytes(self) -> int:
        """Bytes that it takes: of its modules, as set, or as it measures itself."""
        if isinstance(self.value, MeasuresItself):
            return max(self._size_bytes, self.value.size_bytes)
        return self._size_bytes

    @size_bytes.setter
    def size_bytes(self, value: int) -> None:
        self._size_bytes = value


OnUnloaded = Callable[[CacheEntry], None]
"""Called with each entry after it has left the device."""


class ModelCache:
    """Cache entries by key, least recently used first. Entries in use are never evicted, even
    over budget."""

    def __init__(self, device: torch.device, budgets: Budgets, on_unloaded: OnUnloaded) -> None:
        self._device = device
        self._budgets = budgets
        self._on_unloaded = on_unloaded
        self._entries: OrderedDict[Hashable, CacheEntry] = OrderedDict()

    @property
    def _has_own_memory(self) -> bool:
        """Whether the device's memory is another one than main memory."""
        return self._device.type not in ("cpu", "mps")

    def entries(self) -> tuple[CacheEntry, ...]:
        """All entries, on the device or offloaded."""
        return tuple(self._entries.values())

    def find(self, key: Hashable) -> CacheEntry | None:
        """The entry of ``key``, marked as in use and most recently used; it may be offloaded."""
        entry = self._entries.get(key)
        if entry is not None:
            entry.in_use = True
            self._entries.move_to_end(key)
        return entry

    def keep_in_use(self, kind: str, name: str) -> None:
        """Mark an entry as in use by this task, if it is loaded."""
        for entry in self._entries.values():
            if (entry.kind, entry.name) == (kind, name):
                entry.in_use = True

    def put(self, key: Hashable, entry: CacheEntry) -> None:
        """Add a model that was just loaded. Evicts again: its size was only estimated before."""
        self._entries[key] = entry
        self.make_room(0)

    def update_backup(self, stack: LoraStack) -> None:
        """Count the original weights that the LoRAs of a model keep in main memory."""
        for entry in self._entries.values():
            if getattr(entry.value, "loras", None) is stack:
                entry.backup_bytes = stack.original_bytes
        self.make_room(0)

    def reload(self, entry: CacheEntry) -> None:
        """Copy an offloaded model back to the device."""
        self.make_room(entry.size_bytes)
        for part in entry.parts:
            part.to(self._device)
        entry.on_device = True

    def end_use(self, chosen: Callable[[CacheEntry], bool] = lambda _entry: True) -> None:
        """Mark entries as idle: they may be evicted when room is needed."""
        for entry in self._entries.values():
            if chosen(entry):
                entry.in_use = False

    def drop(self, chosen: Callable[[CacheEntry], bool]) -> tuple[CacheEntry, ...]:
        """Drop entries and all that depend on them; returns what was dropped."""
        keys = [key for key, entry in self._entries.items() if chosen(entry)]
        gone = tuple(self._entries.pop(key) for key in keys)
        for entry in gone:
            if entry.on_device:
                self._on_unloaded(entry)
        if not gone:
            return ()
        return gone + self.drop(lambda each: any(each.depends_on is entry.value for entry in gone))

    def make_room(self, needed_bytes: int) -> None:
        """Offload or drop idle entries, least recently used first, until the bytes are free."""
        while self._used(on_device=True) + needed_bytes > self._budgets.device_bytes:
            entry = next(self._idle(on_device=True), None)
            if entry is None:
                return
            if not self._offload(entry):
                self._drop_one(entry)

    def _offload(self, entry: CacheEntry) -> bool:
        """Move an entry to main memory; False if it cannot be there."""
        if not self._has_own_memory or not entry.parts:
            return False
        while self._used(on_device=False) + entry.size_bytes > self._budgets.ram_bytes:
            other = next(self._idle(on_device=False), None)
            if other is None:
                return False
            self._drop_one(other)
        for part in entry.parts:
            part.to(_RAM)
        entry.on_device = False
        self._on_unloaded(entry)
        return True

    def _drop_one(self, entry: CacheEntry) -> None:
        self.drop(lambda each: each is entry)

    def _idle(self, *, on_device: bool) -> Iterator[CacheEntry]:
        return (
            entry
            for entry in self._entries.values()
            if entry.on_device == on_device and not entry.in_use
        )

    def _used(self, *, on_device: bool) -> int:
        entries = self._entries.values()
        used = sum(entry.size_bytes for entry in entries if entry.on_device == on_device)
        # Originals of changed weights always lie in main memory, which may be the device's too.
        if on_device != self._has_own_memory:
            used += sum(entry.backup_bytes for entry in entries)
        return used


def module_bytes(module: nn.Module) -> int:
    """Bytes of a module's weights and buffers."""
    tensors = (*module.parameters(), *module.buffers())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def choose_budgets(device: torch.device, device_gib: float = 0.0, ram_gib: float = 0.0) -> Budgets:
    """Budgets as asked for, in GiB; 0 is a share of the memory, with room left for activations."""
    ram = round(ram_gib * GIB) or round(memory_bytes() * _OFFLOADED_SHARE)
    if device.type != "cuda":
        chosen = round((ram_gib or device_gib) * GIB)
        shared = chosen or round(memory_bytes() * _ONE_MEMORY_SHARE)
        return Budgets(shared, shared)
    total = torch.cuda.mem_get_info(device)[1]
    automatic = max(total - _WORKING_BYTES, round(total * _LEAST_SHARE))
    return Budgets(round(device_gib * GIB) or automatic, ram)
