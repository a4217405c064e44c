"""The examination: held-out triples of colour, shape and background, painted and judged."""

import json
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from tools.embedded.captions import Triple, examination_prompt
from tools.embedded.metrics import Verdict, draw_triple, judge, shape_templates, summary
from tools.embedded.pictures import held_out_triples
from tools.embedded.vocabulary import COLOURS, SCOPES

Paint = Callable[[str, int], Image.Image]


def examination(scope: str, count: int) -> list[Triple]:
    """``count`` held-out triples; always the same ones, and none twice while there are enough."""
    triples = held_out_triples(SCOPES[scope].shapes)
    random.Random(7).shuffle(triples)
    return [triples[i % len(triples)] for i in range(count)]


def evaluate(paint: Paint, scope: str, count: int) -> dict[str, Any]:
    """Paint and judge ``count`` pictures, with seeds 0, 1, 2, …"""
    asked = examination(scope, count)
    templates = shape_templates()
    verdicts = []
    started = time.perf_counter()
    for seed, triple in enumerate(asked):
        verdicts.append(judge(paint(examination_prompt(triple), seed), triple, templates))
    seconds = (time.perf_counter() - started) / max(1, count)
    drawn = [judge(draw_triple(triple, i), triple, templates) for i, triple in enumerate(asked)]
    return {
        "prompts": count,
        "scope": scope,
        "seconds_per_picture": round(seconds, 3),
        "model": summary(verdicts),
        "drawn": summary(drawn),
        "shapes": per_shape(asked, verdicts),
        "colours": per_colour(asked, verdicts),
    }


def per_shape(asked: Sequence[Triple], verdicts: Sequence[Verdict]) -> dict[str, dict[str, float]]:
    """For each shape: how many were asked, and the shares that are right."""
    table: dict[str, dict[str, float]] = {}
    for shape in sorted({triple.shape for triple in asked}):
        rows = [v for t, v in zip(asked, verdicts, strict=True) if t.shape == shape]
        table[shape] = {"asked": len(rows), **summary(rows)}
    return table


def per_colour(asked: Sequence[Triple], verdicts: Sequence[Verdict]) -> dict[str, float]:
    """For each colour of the figure: the share that got it."""
    table = {}
    for colour in COLOURS:
        rows = [v for t, v in zip(asked, verdicts, strict=True) if t.colour == colour]
        if rows:
            table[colour] = summary(rows)["figure_colour"]
    return table


def write_result(result: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


def read_result(path: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return result


def as_text(result: dict[str, Any]) -> str:
    """The figures in a few lines, for a terminal."""
    lines = [
        f"{result['prompts']} prompts, {result['seconds_per_picture']} s a picture",
        "model: " + ", ".join(f"{name} {value:.1%}" for name, value in result["model"].items()),
        "drawn: " + ", ".join(f"{name} {value:.1%}" for name, value in result["drawn"].items()),
    ]
    lines += [
        f"  {shape}: shape {row['shape']:.0%}, both colours {row['both_colours']:.0%}"
        for shape, row in result["shapes"].items()
    ]
    return "\n".join(lines)
