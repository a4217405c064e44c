"""Contact sheets: pictures in a grid, each with its words below."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw

CELL: Final = 256
GAP: Final = 4
TEXT_HEIGHT: Final = 18
LONGEST_TEXT: Final = 44

PROMPTS: Final = (
    "a red circle on a blue background",
    "a yellow star on a purple background",
    "a green heart on a white background",
    "a pink cat on a cyan background",
    "a blue fish on an orange background",
    "a red car on a white background",
    "a red circle and a blue square on a yellow background",
    "a green triangle above an orange circle on a white background",
    "a purple balloon next to a yellow flower on a green background",
    "three red hearts on a white background",
    "a small blue diamond on a pink background",
    "a big orange ring on a gray background",
    "a sunset over the sea",
    "a snowy mountain under a starry night sky",
    "a green field with a house",
    "a forest at sunrise",
    "a city skyline at night",
    "a desert with a cactus under a blue sky",
    "a beach with a palm tree at sunset",
    "hills with a castle under a rainbow",
    "a lake with mountains and a boat, watercolor",
    "a blue house on a yellow background, line art",
    "a red flower on a green background, pastel",
    "a sailboat on the sea under a full moon, pixel art",
)


def write_sheet(
    images: Sequence[Image.Image], texts: Sequence[str], path: Path, columns: int = 6
) -> None:
    """Pictures keep their aspect within a square cell."""
    rows = -(-len(images) // columns)
    size = (columns * (CELL + GAP), rows * (CELL + TEXT_HEIGHT))
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for i, (image, text) in enumerate(zip(images, texts, strict=True)):
        x, y = i % columns * (CELL + GAP), i // columns * (CELL + TEXT_HEIGHT)
        fitted = image.convert("RGB")
        fitted.thumbnail((CELL, CELL))
        sheet.paste(fitted, (x, y))
        draw.text((x + 2, y + CELL + 2), text[:LONGEST_TEXT], fill="black")
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, optimize=True)
