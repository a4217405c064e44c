"""The only place where results meet figures."""

import math
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import msgspec
import torch
from torch import Tensor

from tools.parity_cases.fixtures import Case, Fixtures

Results = Mapping[str, Any]
"""Figure name -> what our code gives: a tensor, or a JSON value for figures in a JSON file."""


class LeftOut(msgspec.Struct, frozen=True):
    """Stands for a figure, or a part of one, that is not compared; ``reason`` says why."""

    reason: str


class Verdict(msgspec.Struct, frozen=True):
    """How far one case is from its figures. ``psnr`` in dB, for pictures only."""

    name: str
    passed: bool
    tolerance: float
    relative: float = math.inf
    absolute: float = math.inf
    psnr: float | None = None
    note: str = ""


class _Distance(msgspec.Struct, frozen=True):
    relative: float
    absolute: float
    psnr: float | None = None
    note: str = ""


def judge(case: Case, fixtures: Fixtures, results: Results) -> Verdict:
    """The verdict over all figures of a case; the worst one decides."""
    in_json = case.file.endswith(".json")
    figures = fixtures.json(case.file) if in_json else fixtures.tensors(case.file)
    figures = {**figures, **case.own_figures}
    wanted = [*wanted_figures(case, figures), *case.own_figures]
    missing = [name for name in wanted if name not in results]
    if missing or not wanted:
        note = f"no result for {', '.join(missing[:3])}" if missing else "the case names no figure"
        return Verdict(name=case.id, passed=False, tolerance=case.tolerance, note=note)
    distances, notes = [], set()
    for name in wanted:
        if isinstance(results[name], LeftOut):
            notes.add(results[name].reason)
        else:
            distances.append(distance(results[name], figures[name]))
    if not distances:
        distances = [_Distance(math.inf, math.inf, note="nothing was compared")]
    notes.update(each.note for each in distances if each.note)
    relative = max(each.relative for each in distances)
    psnrs = [each.psnr for each in distances if each.psnr is not None]
    return Verdict(
        name=case.id,
        passed=relative <= case.tolerance,
        tolerance=case.tolerance,
        relative=relative,
        absolute=max(each.absolute for each in distances),
        psnr=min(psnrs, default=None),
        note="; ".join(sorted(notes)),
    )


def wanted_figures(case: Case, figures: Mapping[str, Any]) -> list[str]:
    """The names of a case's figures; ``<…>`` or ``*`` stand for any text, remarks are cut off."""
    names: list[str] = []
    for output in case.outputs:
        bare = output.split(" ")[0]
        if bare in figures or "<" not in bare:
            names.append(bare)
            continue
        parts = [re.escape(part) for part in re.split(r"<[^>]*>|\*", bare)]
        pattern = re.compile(".+".join(parts))
        known_inputs = {each.split(" ")[0] for each in case.inputs}
        names.extend(
            name for name in figures if pattern.fullmatch(name) and name not in known_inputs
        )
    return names


def distance(ours: Any, figure: Any) -> _Distance:
    """How far apart two values are; anything but tensors must be equal."""
    if not isinstance(figure, Tensor):
        if unlike := list(islice(_differences(ours, figure), 3)):
            return _Distance(math.inf, math.inf, note=f"differs{', '.join(unlike)}")
        return _Distance(0.0, 0.0, note="; ".join(sorted(set(_left_out(ours)))))
    if not isinstance(ours, Tensor) or ours.shape != figure.shape:
        shape = list(ours.shape) if isinstance(ours, Tensor) else type(ours).__name__
        return _Distance(math.inf, math.inf, note=f"is {shape}, not {list(figure.shape)}")
    if figure.dtype == torch.uint8:
        return _picture_distance(ours, figure)
    return _tensor_distance(ours.double(), figure.double())


def _differences(ours: Any, figure: Any) -> Iterator[str]:
    """Where two JSON values differ, as paths; what is left out differs nowhere."""
    if isinstance(ours, LeftOut):
        return
    if isinstance(ours, Mapping) and isinstance(figure, Mapping) and ours.keys() == figure.keys():
        for key, value in ours.items():
            yield from (f".{key}{path}" for path in _differences(value, figure[key]))
    elif isinstance(ours, list) and isinstance(figure, list) and len(ours) == len(figure):
        for i, (one, other) in enumerate(zip(ours, figure, strict=True)):
            yield from (f"[{i}]{path}" for path in _differences(one, other))
    elif ours != figure:
        yield f": {ours!r:.80}, not {figure!r:.80}"


def _left_out(ours: Any) -> Iterator[str]:
    """The reasons why parts of a JSON value are left out."""
    if isinstance(ours, LeftOut):
        yield ours.reason
    elif isinstance(ours, Mapping | list):
        for value in ours.values() if isinstance(ours, Mapping) else ours:
            yield from _left_out(value)


def _picture_distance(ours: Tensor, figure: Tensor) -> _Distance:
    """The distance of levels, 0...255.

    Results that are not truncated to levels yet are compared with all that a level stands for: a
    value on the edge between two of them would else look as far off as a wrong one.
    """
    levels = ours.to(torch.uint8).double()
    if ours.is_floating_point():
        ours = ours.double()
        found = _tensor_distance(ours, ours.clamp(figure, figure + 1.0))
    else:
        found = _tensor_distance(levels, figure.double())
    mean_square = float((levels - figure).square().mean())
    psnr = 10 * math.log10(255**2 / mean_square) if mean_square else math.inf
    return msgspec.structs.replace(found, psnr=psnr)


def _tensor_distance(ours: Tensor, figure: Tensor) -> _Distance:
    """Relative L2 and largest difference, over the elements for which the figure is a number."""
    if not ours.isfinite().all():
        return _Distance(math.inf, math.inf, note="the result is not finite")
    numbers = figure.isfinite()
    note = "" if numbers.all() else f"{int((~numbers).sum())} elements of the figure are no numbers"
    difference = (ours - figure)[numbers]
    if not difference.numel():
        note = "a figure holds no number: only that the result is finite was checked"
        return _Distance(0.0, 0.0, note=note)
    scale = float(figure[numbers].norm()) or 1.0
    absolute = float(difference.abs().max())
    return _Distance(float(difference.norm()) / scale, absolute, note=note)
