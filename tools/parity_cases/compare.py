"""The only place where results meet figures."""

import math
import re
from collections.abc import Mapping
from typing import Any

import msgspec
import torch
from torch import Tensor

from tools.parity_cases.fixtures import Case, Fixtures

Results = Mapping[str, Any]
"""Figure name -> what our code gives: a tensor, or a JSON value for figures in a JSON file."""


class LeftOut(msgspec.Struct, frozen=True):
    """Stands for a figure that is not compared, on purpose; ``reason`` says why."""

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
    wanted = wanted_figures(case, figures)
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
    """The names of a case's figures; ``<…>`` stands for any text, remarks are cut off."""
    names: list[str] = []
    for output in case.outputs:
        bare = output.split(" ")[0]
        if bare in figures or "<" not in bare:
            names.append(bare)
            continue
        parts = [re.escape(part) for part in re.split(r"<[^>]*>", bare)]
        pattern = re.compile(".+".join(parts))
        known_inputs = {each.split(" ")[0] for each in case.inputs}
        names.extend(
            name for name in figures if pattern.fullmatch(name) and name not in known_inputs
        )
    return names


def distance(ours: Any, figure: Any) -> _Distance:
    """How far apart two values are; anything but tensors must be equal."""
    if not isinstance(figure, Tensor):
        same = ours == figure
        return _Distance(0.0, 0.0) if same else _Distance(math.inf, math.inf, note="differs")
    if not isinstance(ours, Tensor) or ours.shape != figure.shape:
        shape = list(ours.shape) if isinstance(ours, Tensor) else type(ours).__name__
        return _Distance(math.inf, math.inf, note=f"is {shape}, not {list(figure.shape)}")
    return _tensor_distance(ours.double(), figure.double(), picture=figure.dtype == torch.uint8)


def _tensor_distance(ours: Tensor, figure: Tensor, *, picture: bool) -> _Distance:
    """Relative L2 and largest difference, over the elements for which the figure is a number."""
    if not ours.isfinite().all():
        return _Distance(math.inf, math.inf, note="the result is not finite")
    numbers = figure.isfinite()
    note = "" if numbers.all() else f"{int((~numbers).sum())} elements of the figure are no numbers"
    difference = (ours - figure)[numbers]
    if not difference.numel():
        return _Distance(0.0, 0.0, note=note)
    scale = float(figure[numbers].norm()) or 1.0
    psnr = None
    if picture:
        mean_square = float(difference.square().mean())
        psnr = 10 * math.log10(255**2 / mean_square) if mean_square else math.inf
    absolute = float(difference.abs().max())
    return _Distance(float(difference.norm()) / scale, absolute, psnr, note)
