"""The labelled sheet of an X/Y/Z grid: grids of x by y below one another, one for each z."""

import io
from collections.abc import Callable, Sequence
from typing import Final

from PIL import Image, ImageDraw, ImageFont

CELL_PX: Final = 320
GAP_PX: Final = 8
LABEL_PX: Final = 30
ROW_LABEL_PX: Final = 150
FONT_PX: Final = 16
_LONGEST: Final = 40  # characters of a label
_WHITE: Final = (255, 255, 255)
_INK: Final = (26, 29, 39)
_EMPTY: Final = (228, 230, 238)

Read = Callable[[int], bytes | None]


def grid_sheet(labels: Sequence[Sequence[str]], read: Read) -> bytes:
    """A PNG with the picture of each cell, at most ``CELL_PX`` wide and high, and its labels.

    ``labels`` are those of x, y and z, as many axes as there are; ``read`` gives the file of a
    cell, x fastest, or None for one without. One picture is decoded at a time.
    """
    columns, rows, layers = (*labels, ("",), ("",))[:3]
    left = ROW_LABEL_PX if len(labels) > 1 else GAP_PX
    layer_px = LABEL_PX * (2 if len(labels) > 2 else 1) + len(rows) * (CELL_PX + GAP_PX)
    width = left + len(columns) * (CELL_PX + GAP_PX)
    sheet = Image.new("RGB", (width, layer_px * len(layers) + GAP_PX), _WHITE)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_PX)
    for z, layer in enumerate(layers):
        top = z * layer_px
        if len(labels) > 2:
            draw.text((GAP_PX, top + GAP_PX), _short(layer), _INK, font)
            top += LABEL_PX
        for x, column in enumerate(columns):
            draw.text((left + x * (CELL_PX + GAP_PX), top + GAP_PX), _short(column), _INK, font)
        top += LABEL_PX
        for y, row in enumerate(rows):
            at_y = top + y * (CELL_PX + GAP_PX)
            if len(labels) > 1:
                draw.text((GAP_PX, at_y + CELL_PX // 2), _short(row)[:18], _INK, font)
            for x in range(len(columns)):
                cell = _cell(read((z * len(rows) + y) * len(columns) + x))
                sheet.paste(cell, (left + x * (CELL_PX + GAP_PX), at_y))
    out = io.BytesIO()
    sheet.save(out, "png")
    return out.getvalue()


def _cell(data: bytes | None) -> Image.Image:
    cell = Image.new("RGB", (CELL_PX, CELL_PX), _EMPTY)
    if data is None:
        return cell
    with Image.open(io.BytesIO(data)) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((CELL_PX, CELL_PX))
    cell.paste(_WHITE, (0, 0, CELL_PX, CELL_PX))
    cell.paste(picture, ((CELL_PX - picture.width) // 2, (CELL_PX - picture.height) // 2))
    return cell


def _short(label: str) -> str:
    return label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1]}…"
