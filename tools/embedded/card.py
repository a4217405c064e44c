"""Write measured figures into the model card, between two marks; the rest is written by hand."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

BEGIN: Final = "<!-- figures: begin -->"
END: Final = "<!-- figures: end -->"

ROWS: Final = {
    "both_colours": "both colours right",
    "figure_colour": "the figure's colour",
    "background_colour": "the background's colour",
    "shape": "the shape (best of 10 templates)",
    "all": "everything right",
}


def update_card(card: Path, result: Mapping[str, Any], samples: int, size_bytes: int) -> None:
    """Replace what stands between the marks. Raises ValueError if a mark is missing."""
    text = card.read_text("utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{card} has no place for the figures: {BEGIN} … {END}")
    figures = figures_markdown(result, samples, size_bytes)
    card.write_text(f"{before}{BEGIN}\n{figures}\n{END}{after}", "utf-8")


def figures_markdown(result: Mapping[str, Any], samples: int, size_bytes: int) -> str:
    lines = [
        f"{size_bytes / 1e6:.1f} MB on disk, trained on {samples:,} samples; "
        f"{result['prompts']} prompts on held-out triples, "
        f"{result['seconds_per_picture']:.2f} s a picture.",
        "",
        "| right | model | drawn pictures (the measure's own ceiling) |",
        "|---|---|---|",
    ]
    lines += [
        f"| {label} | {result['model'][key]:.1%} | {result['drawn'][key]:.1%} |"
        for key, label in ROWS.items()
    ]
    lines += ["", "| shape | asked | shape right | both colours right |", "|---|---|---|---|"]
    lines += [
        f"| {shape} | {row['asked']} | {row['shape']:.0%} | {row['both_colours']:.0%} |"
        for shape, row in result["shapes"].items()
    ]
    return "\n".join(lines)
