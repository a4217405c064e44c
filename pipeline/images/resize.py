"""Bringing a picture to another size."""

from PIL import Image


def resize_lanczos(image: Image.Image, width: int, height: int) -> Image.Image:
    """Lanczos, width first and then height: Pillow's own order depends on its version."""
    lanczos = Image.Resampling.LANCZOS
    return image.resize((width, image.height), lanczos).resize((width, height), lanczos)


def resize_cropped(image: Image.Image, width: int, height: int) -> Image.Image:
    """As small as covers the whole size in its own shape; what stands out is cut off evenly."""
    if width * image.height > height * image.width:
        inner = (width, image.height * width // image.width)
    else:
        inner = (image.width * height // image.height, height)
    return _centred(resize_lanczos(image, *inner), width, height)


def _centred(image: Image.Image, width: int, height: int) -> Image.Image:
    """A canvas of that size with the picture in its middle."""
    canvas = Image.new(image.mode, (width, height))
    canvas.paste(image, (width // 2 - image.width // 2, height // 2 - image.height // 2))
    return canvas
