"""LoRAs in a model's weights: put in, kept while they are asked for, taken out bit for bit."""

import logging
from collections.abc import Hashable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from pipeline.errors import InvalidModelFile
from pipeline.files.stamp import Stamp, stamp_of
from pipeline.weights.lora_files import read_lora
from pipeline.weights.lora_formulas import Patch
from pipeline.weights.lora_names import LoraModules, name_modules

log = logging.getLogger(__name__)

_NAMED: Final = 3  # how many disagreeing names a message tells


class ChosenLora(NamedTuple):
    """A file and how strongly it counts. ``name`` is for people."""

    name: str
    path: Path
    weight: float


class LoraFit(NamedTuple):
    """How much of a file a model could take: changes made, and what was left out of it."""

    lora: ChosenLora
    changes: int
    faults: tuple[str, ...]

    def __str__(self) -> str:
        told = f"{self.lora.name} at {self.lora.weight:g}: {self.changes} weights changed"
        return f"{told}, {len(self.faults)} left out ({self.first_faults})" if self.faults else told

    @property
    def first_faults(self) -> str:
        """The first of what was left out."""
        return "; ".join(self.faults[:_NAMED])


class _Change(NamedTuple):
    owner: nn.Module
    parameter: str
    patch: Patch
    strength: float


class _Original(NamedTuple):
    owner: nn.Module
    parameter: str
    value: Tensor


class LoraStack:
    """The LoRAs of one model. Device thread only.

    As long as LoRAs are in, the weights that they touch exist twice. On the CPU the originals stay
    what they were (views of the mapped file where that has the right number format) and the changed
    ones take memory; with ``in_place``, for accelerators, the originals move to main memory and the
    device holds no more than without LoRAs. ``lenient`` leaves out what is for another model, where
    it would be refused: a refiner is only by chance of the kind that a LoRA was made for.
    """

    def __init__(self, modules: LoraModules, *, in_place: bool, lenient: bool = False) -> None:
        self._modules = modules
        self._in_place = in_place
        self._lenient = lenient
        self._key: tuple[tuple[Path, Stamp, float], ...] = ()
        self._fits: tuple[LoraFit, ...] = ()
        self._originals: list[_Original] = []

    def has(self, chosen: Sequence[ChosenLora]) -> bool:
        """Are exactly these in, with these weights, from these files as they are now?"""
        return self._key == _key_of(chosen)

    @property
    def names(self) -> tuple[str, ...]:
        """The LoRAs in the weights."""
        return tuple(fit.lora.name for fit in self._fits if fit.changes)

    @property
    def original_bytes(self) -> int:
        """What the weights take that are kept to take the LoRAs out again."""
        return sum(kept.value.numel() * kept.value.element_size() for kept in self._originals)

    def changed(self, network: nn.Module) -> dict[str, Tensor]:
        """The weights of ``network`` that the LoRAs changed, by name, as they are now."""
        names = {id(module): name for name, module in network.named_modules()}
        return {
            f"{names[id(kept.owner)]}.{kept.parameter}": getattr(kept.owner, kept.parameter)
            for kept in self._originals
            if id(kept.owner) in names
        }

    @property
    def key(self) -> Hashable:
        """Equal for equal weights: which LoRAs are in, how strongly, from which files."""
        return self._key

    @torch.inference_mode()
    def use(self, chosen: Sequence[ChosenLora]) -> tuple[LoraFit, ...]:
        """Have exactly these in, in their order; those of weight 0 change nothing.

        Raises InvalidModelFile, with the weights as they were before the call.
        """
        key = _key_of(chosen)
        if key != self._key:
            matched = [self._match(lora) for lora in chosen if lora.weight]
            self.remove()
            try:
                self._put_in([change for _, changes in matched for change in changes])
            except BaseException:
                self.remove()
                raise
            self._key, self._fits = key, tuple(fit for fit, _ in matched)
        return self._fits

    @torch.inference_mode()
    def remove(self) -> None:
        """Have none in: every weight is again, bit for bit, what was loaded."""
        while self._originals:
            owner, parameter, value = self._originals.pop()
            if self._in_place:
                getattr(owner, parameter).copy_(value)
            else:
                setattr(owner, parameter, value)
        self._key, self._fits = (), ()

    @cached_property
    def _names(self) -> dict[str, nn.Module]:
        return name_modules(self._modules)

    def _match(self, lora: ChosenLora) -> tuple[LoraFit, list[_Change]]:
        """The changes that fit; a file of which less than half does is for another model."""
        file = read_lora(lora.path)
        faults = [f"{name} is unknown" for name in file.strange]
        changes = []
        for module, parameter, patch in file.patches:
            owner = self._names.get(module)
            weight = getattr(owner, parameter, None)
            fault = patch.misfit(weight) if isinstance(weight, Tensor) else "is not in the model"
            if fault or owner is None:
                faults.append(f"{module} {fault}")
            else:
                changes.append(_Change(owner, parameter, patch, lora.weight))
        fit = LoraFit(lora, len(changes), tuple(faults))
        if len(changes) <= len(faults):
            if self._lenient:
                return fit._replace(changes=0), []
            raise InvalidModelFile(
                f"{lora.name} is no LoRA for this model: {len(faults)} of its"
                f" {len(changes) + len(faults)} changes do not fit ({fit.first_faults})"
            )
        return fit, changes

    def _put_in(self, changes: Sequence[_Change]) -> None:
        """Each weight is changed by all its LoRAs in float32 and rounded once."""
        by_weight: dict[tuple[nn.Module, str], list[_Change]] = {}
        for change in changes:
            by_weight.setdefault((change.owner, change.parameter), []).append(change)
        for (owner, parameter), own in by_weight.items():
            original: Tensor = getattr(owner, parameter)
            weight = original.float()
            for change in own:
                weight = change.patch.apply(weight, change.strength)
            self._replace(owner, parameter, weight.to(original.dtype))

    def _replace(self, owner: nn.Module, parameter: str, changed: Tensor) -> None:
        original: Tensor = getattr(owner, parameter)
        if self._in_place:
            kept = original.detach().to("cpu", copy=True)
            self._originals.append(_Original(owner, parameter, kept))
            original.copy_(changed)
        else:
            self._originals.append(_Original(owner, parameter, original))
            setattr(owner, parameter, nn.Parameter(changed, requires_grad=False))


def _key_of(chosen: Sequence[ChosenLora]) -> tuple[tuple[Path, Stamp, float], ...]:
    """What decides the weights: files as they are on disk, their order, their strengths."""
    return tuple((lora.path, stamp_of(lora.path), lora.weight) for lora in chosen if lora.weight)
