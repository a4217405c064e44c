"""X/Y/Z grids: one request, made with every combination of the values of one to three axes."""

import itertools
import math
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from pipeline.errors import InvalidParameter
from pipeline.request.schema import RANDOM_SEED_LIMIT

CELLS_LIMIT: Final = 200
LORA_WEIGHT: Final = "lora_weight"
PROMPT_PART: Final = "prompt_part"

Value = str | int | float | list[str]


class Axis(msgspec.Struct, frozen=True, kw_only=True):
    """One axis of a grid: a field of the request and its values, in order.

    ``lora_weight`` sets the weight of every LoRA of the request; ``prompt_part`` replaces its first
    value, which the prompt must have, by each of the values.
    """

    field: Annotated[str, Meta(max_length=64, description="A request field, or as above.")]
    values: Annotated[list[Value], Meta(min_length=1, max_length=50)]


def grid_requests(
    parameters: Mapping[str, object], axes: Sequence[Axis]
) -> Iterator[dict[str, object]]:
    """The request of each cell: x varies fastest, then y, then z. One picture each, one seed.

    Raises InvalidParameter for too many cells, and for an axis that changes nothing.
    """
    if math.prod(len(axis.values) for axis in axes) > CELLS_LIMIT:
        raise InvalidParameter(("axes",), f"Expected at most {CELLS_LIMIT} pictures in all")
    shared = {**parameters, "image_number": 1, "async_process": True}
    if shared.get("image_seed") in (None, -1):  # pictures that differ by the axes alone
        shared["image_seed"] = secrets.randbelow(RANDOM_SEED_LIMIT)
    for values in itertools.product(*(axis.values for axis in reversed(axes))):
        cell = dict(shared)
        for number, (axis, value) in enumerate(zip(axes, reversed(values), strict=True)):
            cell |= _changed(cell, axis, value, number)
        yield cell


def _changed(
    cell: Mapping[str, object], axis: Axis, value: Value, number: int
) -> dict[str, object]:
    """The fields of a cell that one value of one axis sets."""
    if axis.field == LORA_WEIGHT:
        loras = cell.get("loras")
        if not isinstance(loras, list) or not loras:
            raise InvalidParameter(("axes", number, "field"), "Expected LoRAs in the parameters")
        return {"loras": [{**slot, "weight": value} for slot in loras if isinstance(slot, dict)]}
    if axis.field == PROMPT_PART:
        part, prompt = str(axis.values[0]), str(cell.get("prompt", ""))
        if not part or part not in prompt:
            raise InvalidParameter(("axes", number, "values", 0), "Expected a part of the prompt")
        return {"prompt": prompt.replace(part, str(value))}
    return {axis.field: value}
