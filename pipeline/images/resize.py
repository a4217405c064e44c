"""Bringing a picture to another size."""

from PIL import Image


def resize_lanczos(image: Image.Image, width: int, height: int) -> Image.Image:
    """Lanczos, width first and then height: Pillow's own order depends on its version."""
    lanczos = Image.Resampling.LANCZOS
    return image.resize((width, image.height), lanczos).resize((width, height), lanczos)
