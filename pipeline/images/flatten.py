"""Colour modes of decoded images: 8 bits a channel, alpha composited on white."""

from typing import Any, Final

from PIL import Image, ImageMath

_SIXTEEN_BIT: Final = 257  # 16-bit levels to one 8-bit level
_STRIP_ROWS: Final = 64


def with_modes(image: Image.Image, modes: tuple[str, ...]) -> Image.Image:
    """The image, or its conversion to RGB or RGBA if its mode is none of ``modes``."""
    if image.mode in modes:
        return image
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def flatten(image: Image.Image) -> Image.Image:
    """The image in 8-bit RGB, transparency composited on white."""
    image = eight_bit(image)
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    return _on_white(image.convert("RGBA"))


def _on_white(layered: Image.Image) -> Image.Image:
    """RGBA composited on white as Fooocus does: float32 per pixel, truncated.

    Done in strips: floating-point bands take four times the memory of 8-bit ones.
    """
    made = Image.new("RGB", layered.size)
    for top in range(0, layered.height, _STRIP_ROWS):
        bottom = min(top + _STRIP_ROWS, layered.height)
        *bands, alpha = layered.crop((0, top, layered.width, bottom)).split()
        blended = (ImageMath.lambda_eval(_blend_on_white, band=band, alpha=alpha) for band in bands)
        made.paste(Image.merge("RGB", list(blended)), (0, top))
    return made


def _blend_on_white(args: dict[str, Any]) -> Any:
    alpha = args["float"](args["alpha"]) / 255.0
    return args["convert"](args["band"] * alpha + 255.0 * (1.0 - alpha), "L")  # truncates


def eight_bit(image: Image.Image) -> Image.Image:
    """16-bit grey scaled to 8 bits: Pillow's own conversion clips at 255."""
    if not image.mode.startswith("I"):
        return image
    return image.point(lambda level: level * (1 / _SIXTEEN_BIT) + 0.5).convert("L")
