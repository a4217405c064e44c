"""PEFT's settings of a LoRA, which say how far it counts where its tensors do not.

diffusers writes them into the header of the file, by component; PEFT into a file beside it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from pipeline.files.header import read_metadata

_HEADER_FIELD: Final = "lora_adapter_metadata"
_BESIDE: Final = "adapter_config.json"
_BESIDE_OF: Final = "adapter_model"
_COMPONENTS: Final = ("unet", "text_encoder", "text_encoder_2")


class LoraSettings(NamedTuple):
    """Of one component: its modules' alpha, some modules' own, and whether ranks count less."""

    alpha: float
    own: Mapping[str, float]
    is_rank_stabilised: bool

    def alpha_of(self, module: str, rank: int) -> float:
        """The alpha by which alpha / rank is the scale of this module's change.

        Rank-stabilised LoRAs (arXiv:2312.03732) are scaled by alpha / √rank.
        """
        ends = (alpha for name, alpha in self.own.items() if f".{module}".endswith(f".{name}"))
        alpha = next(ends, self.alpha)
        return alpha * rank**0.5 if self.is_rank_stabilised else alpha


def read_settings(path: Path) -> dict[str, LoraSettings]:
    """Settings by the prefix of the modules that they are for; {} where there are none."""
    told = _json_object(read_metadata(path).get(_HEADER_FIELD, ""))
    found = {}
    for component in _COMPONENTS:
        start = f"{component}."
        own = {name[len(start) :]: value for name, value in told.items() if name.startswith(start)}
        if settings := _settings(own):
            found[start] = settings
    beside = path.with_name(_BESIDE)
    if not found and path.stem == _BESIDE_OF and beside.is_file():
        settings = _settings(_json_object(beside.read_text("utf-8", errors="replace")))
        found |= {"": settings} if settings else {}
    return found


def _settings(told: Mapping[str, Any]) -> LoraSettings | None:
    alpha, own = _number(told.get("lora_alpha")), told.get("alpha_pattern")
    if alpha is None:
        return None
    named = {
        name.removeprefix("^"): number
        for name, value in (own.items() if isinstance(own, dict) else ())
        if (number := _number(value)) is not None
    }
    return LoraSettings(alpha, named, is_rank_stabilised=told.get("use_rslora") is True)


def _json_object(text: str) -> dict[str, Any]:
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _number(value: object) -> float | None:
    is_one = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_one else None  # type: ignore[arg-type]
