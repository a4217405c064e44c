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


def resize_padded(image: Image.Image, width: int, height: int) -> Image.Image:
    """As large as fits into the size in its own shape; its outermost pixels fill the rest."""
    if width * image.height < height * image.width:
        inner = (width, max(1, image.height * width // image.width))
    else:
        inner = (max(1, image.width * height // image.height), height)
    small = resize_lanczos(image, *inner)
    made = _centred(small, width, height)
    left, top = width // 2 - small.width // 2, height // 2 - small.height // 2
    right, bottom = left + small.width, top + small.height
    edges = {  # where each goes: the line of the small picture that it goes on from
        (0, 0, width, top): (0, 0, small.width, 0),
        (0, bottom, width, height): (0, small.height, small.width, small.height),
        (0, 0, left, height): (0, 0, 0, small.height),
        (right, 0, width, height): (small.width, 0, small.width, small.height),
    }
    for (x0, y0, x1, y1), line in edges.items():
        if x1 > x0 and y1 > y0:
            made.paste(small.resize((x1 - x0, y1 - y0), box=line), (x0, y0))
    return made


def _centred(image: Image.Image, width: int, height: int) -> Image.Image:
    """A canvas of that size with the picture in its middle."""
    canvas = Image.new(image.mode, (width, height))
    canvas.paste(image, (width // 2 - image.width // 2, height // 2 - image.height // 2))
    return canvas
