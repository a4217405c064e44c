"""LoRA files of each layout to changes by module, under the file's names of its modules."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from pipeline.weights.lora_formulas import KINDS, MAGNITUDES, Kind, Patch
from pipeline.weights.lora_settings import LoraSettings, read_settings
from pipeline.weights.tensors import read_values

Slots = Mapping[str, Tensor]

_PROCESSOR: Final = ".processor."  # before the layer, in names of diffusers' attention processors

# How layouts write a part after the module's name.
_ENDINGS: Final[Mapping[str, str]] = {
    ".lora_up.weight": "up",  # kohya
    ".lora_down.weight": "down",
    ".lora_mid.weight": "mid",
    ".lora_B.weight": "up",  # diffusers and PEFT
    ".lora_A.weight": "down",
    ".lora.up.weight": "up",  # diffusers before PEFT
    ".lora.down.weight": "down",
    ".lora_linear_layer.up.weight": "up",
    ".lora_linear_layer.down.weight": "down",
    "_lora.up.weight": "up",  # diffusers' attention processors
    "_lora.down.weight": "down",
    "_lora.alpha": "alpha",
    ".alpha": "alpha",
    ".diff": "diff",
    ".w_norm": "diff",  # LyCORIS, of a norm
    ".diff_b": "diff_b",
    ".b_norm": "diff_b",
    ".set_weight": "set",
    ".dora_scale": "dora_scale",
    ".lora_magnitude_vector.weight": "magnitude",  # PEFT
    ".lora_magnitude_vector": "magnitude",
    **{f".{name}": name for name in ("oft_blocks", "oft_diag", "rescale")},
    **{f".{name}.weight": name for name in ("a1", "a2", "b1", "b2")},
    **{
        f".{name}": name
        for kind in KINDS
        for name in kind.parts
        if name.startswith(("hada_", "lokr_"))
    },
}
_WRAPPER: Final = "base_model.model."  # PEFT's own name around the model
_EIGHT_BIT: Final[Mapping[str, tuple[str, str, str]]] = {
    ".weight": ("levels", "low", "high"),
    ".bias": ("bias_levels", "bias_low", "bias_high"),
}


class NamedPatch(NamedTuple):
    """A change of one parameter (``weight`` or ``bias``) of a module."""

    module: str
    parameter: str
    patch: Patch


class LoraFile(NamedTuple):
    """What a file holds. ``strange`` are names that are no change of any kind."""

    patches: tuple[NamedPatch, ...]
    strange: tuple[str, ...]


def read_lora(path: Path) -> LoraFile:
    """Read a file of any layout and kind. Raises InvalidModelFile."""
    values = read_values(path, "LoRA")
    modules: dict[str, dict[str, Tensor]] = defaultdict(dict)
    strange = []
    for key, value in values.items():
        parts = dict(_parts(key, value))
        strange.extend([key] if not parts else [])
        for (module, slot), tensor in parts.items():
            modules[module][slot] = tensor
    for prefix, settings in read_settings(path).items():
        _add_alphas(modules, prefix, settings)
    patches = [patch for module, slots in modules.items() for patch in _patches(module, slots)]
    known = {patch.module for patch in patches}
    strange.extend(module for module in modules if module not in known)
    return LoraFile(tuple(patches), tuple(strange))


def _parts(key: str, value: Any) -> Iterator[tuple[tuple[str, str], Tensor]]:
    """(module, part) and tensor of one entry; nothing where it has no name that is known."""
    key = key.removeprefix(_WRAPPER).replace(".default.", ".")
    if isinstance(value, tuple | list):
        ending = f".{key.rpartition('.')[2]}"
        if len(value) == 3 and ending in _EIGHT_BIT:
            for slot, each in zip(_EIGHT_BIT[ending], value, strict=True):
                yield (key.removesuffix(ending), slot), torch.as_tensor(each)
    elif isinstance(value, Tensor | float | int):
        ending = next((ending for ending in _ENDINGS if key.endswith(ending)), "")
        if ending:
            module = _without_processor(key.removesuffix(ending))
            yield (module, _ENDINGS[ending]), torch.as_tensor(value)


def _add_alphas(
    modules: Mapping[str, dict[str, Tensor]], prefix: str, settings: LoraSettings
) -> None:
    """Give modules below ``prefix`` that have ranks, and no alpha of their own, the file's."""
    for module, slots in modules.items():
        down = slots.get("down")
        if module.startswith(prefix) and "alpha" not in slots and down is not None and down.ndim:
            alpha = settings.alpha_of(module.removeprefix(prefix), down.shape[0])
            slots["alpha"] = torch.tensor(alpha)


def _patches(module: str, slots: Slots) -> Iterator[NamedPatch]:
    for kind in KINDS:
        parts = {name: slots[name] for name in kind.parts if name in slots}
        if parts:
            beside = {"alpha"} | (MAGNITUDES if kind.parameter == "weight" else set())
            parts |= {name: slots[name] for name in beside if name in slots}
            yield NamedPatch(module, kind.parameter, Patch(kind.formula, _bare(kind, parts)))


def _bare(kind: Kind, parts: Slots) -> Slots:
    """A bias's 8-bit parts under the names that the formula takes."""
    if kind.parameter != "bias":
        return parts
    return {name.removeprefix("bias_"): part for name, part in parts.items()}


def _without_processor(name: str) -> str:
    """The module that an attention processor's name (``….attn1.processor.to_q``) stands for.

    Other names stay as they are: no module is called as processors call theirs.
    """
    name = name.replace(_PROCESSOR, ".")
    if ".self_attn." in name:
        name = re.sub(r"\.to_([qkv])$", r".\1_proj", name)
        return re.sub(r"\.to_out$", ".out_proj", name)
    return f"{name}.0" if name.endswith(".to_out") else name
