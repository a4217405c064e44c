"""LoRAs in a model's weights: merged, kept while they are asked for, removed bit for bit."""

import logging
from collections import Counter
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

_NAMED: Final = 3  # faults that a message lists


class ChosenLora(NamedTuple):
    """A LoRA file and its strength. ``name`` is the one in notes and error messages."""

    name: str
    path: Path
    weight: float


class LoraFit(NamedTuple):
    """How a file fits a model: the changes that were merged, and what was left out.

    ``no_ops`` counts the merged changes that left their weight as it was, such as those of rank 0.
    """

    lora: ChosenLora
    changes: int
    faults: tuple[str, ...]
    no_ops: int = 0

    def __str__(self) -> str:
        changed = f"{self.changes - self.no_ops} of " if self.no_ops else ""
        told = f"{self.lora.name} at {self.lora.weight:g}: {changed}{self.changes} weights changed"
        return f"{told}, {len(self.faults)} left out ({self.first_faults})" if self.faults else told

    @property
    def first_faults(self) -> str:
        """The first of the faults, as one text."""
        return "; ".join(self.faults[:_NAMED])


class _Change(NamedTuple):
    owner: nn.Module
    parameter: str
    patch: Patch
    strength: float
    lora: int  # its place among the chosen LoRAs


class _Original(NamedTuple):
    owner: nn.Module
    parameter: str
    value: Tensor


class LoraStack:
    """The LoRAs of one model. Device thread only.

    While LoRAs are merged, the weights that they touch exist twice. On the CPU the originals stay
    as they are (views of the mapped file where its number format is the network's) and the changed
    ones take memory; with ``in_place``, for accelerators, the originals move to main memory and the
    device holds no more than without LoRAs. ``lenient`` skips a file for another model instead of
    raising: a refiner rarely has the architecture that a LoRA was trained for.
    """

    def __init__(self, modules: LoraModules, *, in_place: bool, lenient: bool = False) -> None:
        self._modules = modules
        self._in_place = in_place
        self._lenient = lenient
        self._key: tuple[tuple[Path, Stamp, float], ...] = ()
        self._fits: tuple[LoraFit, ...] = ()
        self._originals: list[_Original] = []

    def has(self, chosen: Sequence[ChosenLora]) -> bool:
        """Whether exactly these are merged, at these strengths, from the files as they are now."""
        return self._key == _key_of(chosen)

    @property
    def names(self) -> tuple[str, ...]:
        """The merged LoRAs."""
        return tuple(fit.lora.name for fit in self._fits if fit.changes)

    @property
    def original_bytes(self) -> int:
        """Size of the kept originals."""
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
        """Cache key of the weights: files, their stamps and strengths, in order."""
        return self._key

    @torch.inference_mode()
    def use(self, chosen: Sequence[ChosenLora]) -> tuple[LoraFit, ...]:
        """Merge exactly these, in their order; those of strength 0 are skipped.

        Raises InvalidModelFile, with the weights as they were before the call.
        """
        key = _key_of(chosen)
        if key != self._key:
            weighted = [lora for lora in chosen if lora.weight]
            matched = [self._match(lora, place) for place, lora in enumerate(weighted)]
            self.remove()
            try:
                no_ops = self._merge([change for _, changes in matched for change in changes])
            except BaseException:
                self.remove()
                raise
            self._key = key
            self._fits = tuple(
                fit._replace(no_ops=no_ops[place]) for place, (fit, _) in enumerate(matched)
            )
        return self._fits

    @torch.inference_mode()
    def remove(self) -> None:
        """Restore every weight, bit for bit, to what was loaded."""
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

    def _match(self, lora: ChosenLora, place: int) -> tuple[LoraFit, list[_Change]]:
        """The changes that fit. Raises InvalidModelFile unless more than half of them do."""
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
                changes.append(_Change(owner, parameter, patch, lora.weight, place))
        fit = LoraFit(lora, len(changes), tuple(faults))
        if len(changes) <= len(faults):
            if self._lenient:
                return fit._replace(changes=0), []
            raise InvalidModelFile(
                f"{lora.name} is no LoRA for this model: {len(faults)} of its"
                f" {len(changes) + len(faults)} changes do not fit ({fit.first_faults})"
            )
        return fit, changes

    def _merge(self, changes: Sequence[_Change]) -> Counter[int]:
        """Change each weight by all its LoRAs in float32 and round once.

        Returns the number of changes without effect by the place of their LoRA.
        """
        no_ops: Counter[int] = Counter()
        by_weight: dict[tuple[nn.Module, str], list[_Change]] = {}
        for change in changes:
            by_weight.setdefault((change.owner, change.parameter), []).append(change)
        for (owner, parameter), own in by_weight.items():
            original: Tensor = getattr(owner, parameter)
            weight = original.float()
            for change in own:
                before, weight = weight, change.patch.apply(weight, change.strength)
                no_ops[change.lora] += torch.equal(before, weight)
            self._replace(owner, parameter, weight.to(original.dtype))
        return no_ops

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
    """Files with their stamps and strengths, in order: equal keys mean equal weights."""
    return tuple((lora.path, stamp_of(lora.path), lora.weight) for lora in chosen if lora.weight)
