"""The layouts of upscalers' files, brought to those of Real-ESRGAN.

ESRGAN: ``conv_first``, ``body.N.rdbM.convK``, ``conv_body``, ``conv_up1`` …, ``conv_hr``,
``conv_last``. The compact network: ``body.N``.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from torch import Tensor

from pipeline.errors import InvalidModelFile

# Where training programs put the weights in their file; moving averages (EMA) are preferred.
_WRAPPERS: Final = ("params_ema", "params", "state_dict", "model", "generator")
_NAMES: Final = (
    # Fooocus's own file has another name for a block's parts.
    (re.compile(r"residual_block_(\d+)"), r"RDB\1"),
    # ESRGAN as first published: layers by their place. Places behind the blocks: see below.
    (re.compile(r"^model\.0\."), "conv_first."),
    (re.compile(r"^model\.1\.sub\.(\d+)\.RDB(\d)\.(conv\d)(?:\.0)?\."), r"body.\1.rdb\2.\3."),
    (re.compile(r"^model\.1\.sub\.\d+\.(weight|bias)$"), r"conv_body.\1"),
    # ESRGAN with names for its layers.
    (re.compile(r"^RRDB_trunk\.(\d+)\.RDB(\d)\."), r"body.\1.rdb\2."),
    (re.compile(r"^trunk_conv\."), "conv_body."),
    (re.compile(r"^upconv(\d)\."), r"conv_up\1."),
    (re.compile(r"^HRconv\."), "conv_hr."),
)
_PLACED: Final = re.compile(r"^model\.(\d+)\.(weight|bias)$")
_PREFIX: Final = "module."  # several devices trained it


def named_weights(values: Mapping[str, Any], file: str) -> dict[str, Tensor]:
    """The tensors of a file under one layout's names. ``file`` stands in errors.

    Raises InvalidModelFile for a network of another kind.
    """
    tensors = {
        name.removeprefix(_PREFIX): value
        for name, value in _unwrapped(values).items()
        if isinstance(value, Tensor)
    }
    last = max((int(match[1]) for match in map(_PLACED.match, tensors) if match), default=0)
    made = {_renamed(name, last): tensor for name, tensor in tensors.items()}
    is_compact = "body.0.weight" in made and made["body.0.weight"].ndim == 4
    if not is_compact and ("conv_first.weight" not in made or "conv_body.weight" not in made):
        told = ", ".join(list(tensors)[:3]) or "nothing"
        raise InvalidModelFile(
            f"{file} is no ESRGAN upscaler, nor a compact one of Real-ESRGAN; it holds {told}."
            " Use another upscale_model"
        )
    return made


def _unwrapped(values: Mapping[str, Any]) -> Mapping[str, Any]:
    for wrapper in _WRAPPERS:
        if isinstance(values.get(wrapper), Mapping):
            return values[wrapper]  # type: ignore[no-any-return]
    return values


def _renamed(name: str, last: int) -> str:
    for pattern, replacement in _NAMES:
        name = pattern.sub(replacement, name)
    match = _PLACED.match(name)
    return f"{_layer_at(int(match[1]), last)}.{match[2]}" if match else name


def _layer_at(place: int, last: int) -> str:
    """The layer at a place behind the blocks, in a network whose last layer stands at ``last``.

    There stand, by place: enlarging, convolution, activation for each doubling from 2 on; then a
    convolution, an activation and the last convolution.
    """
    if place == last:
        return "conv_last"
    return "conv_hr" if place == last - 2 else f"conv_up{place // 3}"


def numbered(names: Mapping[str, Tensor], pattern: str) -> int:
    """How many there are of what ``pattern`` numbers in its group, wherever counting begins."""
    found: Iterator[re.Match[str] | None] = (re.match(pattern, name) for name in names)
    return len({match[1] for match in found if match})
