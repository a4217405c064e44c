"""Loaded models within budgets: the least recently used leave first.

Knows neither files nor tasks. Models rest on the device or in main memory; one that was moved off
the device comes back by a copy, without its file.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import nn

from pipeline.memory.machine import memory_bytes
from pipeline.weights.lora import LoraStack

GIB: Final = 2**30
_RAM: Final = torch.device("cpu")

# What a picture itself needs of a device beside the models, and shares of the whole.
_WORKING_BYTES: Final = 3 * GIB
_LEAST_SHARE: Final = 0.4
_ONE_MEMORY_SHARE: Final = 0.6  # CPU and MPS: models and pictures share main memory
_PARKED_SHARE: Final = 0.5  # of main memory, for models that are off the device


class Budgets(NamedTuple):
    """Bytes that models may take. Where device and main memory are one, the first counts."""

    device_bytes: int
    ram_bytes: int


class Held:
    """One loaded model. ``parts`` are its modules; without any it can be dropped, not moved.

    ``beside`` is the value of another one that it holds on to.
    """

    def __init__(
        self,
        kind: str,
        name: str,
        value: Any,
        parts: Sequence[nn.Module],
        beside: object = None,
    ) -> None:
        self.kind = kind
        self.name = name
        self.value = value
        self.parts = tuple(parts)
        self.beside = beside
        self.size_bytes = sum(map(module_bytes, self.parts))
        self.beside_bytes = 0  # in main memory, as the originals of weights that LoRAs changed
        self.on_device = True
        self.in_use = True


OnMoved = Callable[[Held], None]
"""Hears of each model that has left the device, after it has."""


class Shelf:
    """Owns the models by key, from the least to the most recently used. Device thread only.

    What is in use stays, also where it takes more than the budget.
    """

    def __init__(self, device: torch.device, budgets: Budgets, on_left: OnMoved) -> None:
        self._device = device
        self._budgets = budgets
        self._on_left = on_left
        self._held: OrderedDict[Hashable, Held] = OrderedDict()

    @property
    def _is_apart(self) -> bool:
        """Has the device a memory of its own?"""
        return self._device.type not in ("cpu", "mps")

    def items(self) -> tuple[Held, ...]:
        """What is loaded, on the device or off it."""
        return tuple(self._held.values())

    def find(self, key: Hashable) -> Held | None:
        """The model of that key, now in use and the most recently used; maybe off the device."""
        held = self._held.get(key)
        if held is not None:
            held.in_use = True
            self._held.move_to_end(key)
        return held

    def keep_in_use(self, kind: str, name: str) -> None:
        """It is wanted by this task too, if it is loaded."""
        for held in self._held.values():
            if (held.kind, held.name) == (kind, name):
                held.in_use = True

    def put(self, key: Hashable, held: Held) -> None:
        """Keep a model that has just been loaded; the estimate it was loaded by may be wrong."""
        self._held[key] = held
        self.make_room(0)

    def weigh(self, stack: LoraStack) -> None:
        """Count what the LoRAs of a model take beside it."""
        for held in self._held.values():
            if getattr(held.value, "loras", None) is stack:
                held.beside_bytes = stack.original_bytes
        self.make_room(0)

    def bring_back(self, held: Held) -> None:
        """Copy a model that rests in main memory to the device."""
        self.make_room(held.size_bytes)
        for part in held.parts:
            part.to(self._device)
        held.on_device = True

    def end_use(self, chosen: Callable[[Held], bool] = lambda _held: True) -> None:
        """These are not in use any more: they stay as long as there is room."""
        for held in self._held.values():
            if chosen(held):
                held.in_use = False

    def drop(self, chosen: Callable[[Held], bool]) -> tuple[Held, ...]:
        """Let these go, and what holds on to them; what went."""
        keys = [key for key, held in self._held.items() if chosen(held)]
        gone = tuple(self._held.pop(key) for key in keys)
        for held in gone:
            self._tell(held)
        if not gone:
            return ()
        return gone + self.drop(lambda each: any(each.beside is held.value for held in gone))

    def make_room(self, wanted_bytes: int) -> None:
        """Until so many bytes more fit on the device, move or drop what was used longest ago."""
        while self._used(on_device=True) + wanted_bytes > self._budgets.device_bytes:
            held = next(self._idle(on_device=True), None)
            if held is None:
                return
            if not self._park(held):
                self.drop(lambda each, gone=held: each is gone)  # type: ignore[misc]

    def _park(self, held: Held) -> bool:
        """Move it to main memory if it can be there."""
        if not self._is_apart or not held.parts:
            return False
        while self._used(on_device=False) + held.size_bytes > self._budgets.ram_bytes:
            other = next(self._idle(on_device=False), None)
            if other is None:
                return False
            self.drop(lambda each, gone=other: each is gone)  # type: ignore[misc]
        for part in held.parts:
            part.to(_RAM)
        held.on_device = False
        self._on_left(held)
        return True

    def _idle(self, *, on_device: bool) -> Iterator[Held]:
        return (
            held for held in self._held.values() if held.on_device == on_device and not held.in_use
        )

    def _used(self, *, on_device: bool) -> int:
        sizes = sum(held.size_bytes for held in self._held.values() if held.on_device == on_device)
        # The originals of changed weights are in main memory: that is this one, or the other.
        counts_beside = on_device != self._is_apart
        return sizes + (sum(h.beside_bytes for h in self._held.values()) if counts_beside else 0)

    def _tell(self, held: Held) -> None:
        if held.on_device:
            self._on_left(held)


def module_bytes(module: nn.Module) -> int:
    """Bytes of a module's weights and buffers."""
    tensors = (*module.parameters(), *module.buffers())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def choose_budgets(device: torch.device, device_gib: float = 0.0, ram_gib: float = 0.0) -> Budgets:
    """Budgets as asked for, in GiB; 0: a share of what there is, with room left for pictures."""
    ram = round(ram_gib * GIB) or round(memory_bytes() * _PARKED_SHARE)
    if device.type != "cuda":
        chosen = round((ram_gib or device_gib) * GIB)
        shared = chosen or round(memory_bytes() * _ONE_MEMORY_SHARE)
        return Budgets(shared, shared)
    total = torch.cuda.mem_get_info(device)[1]
    automatic = max(total - _WORKING_BYTES, round(total * _LEAST_SHARE))
    return Budgets(round(device_gib * GIB) or automatic, ram)
