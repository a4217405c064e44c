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


def resize_filled(image: Image.Image, width: int, height: int) -> Image.Image:
    """As large as fits in its own shape; its outermost rows or columns fill the rest."""
    if width * image.height > height * image.width:
        inner = (max(1, image.width * height // image.height), height)
    else:
        inner = (width, max(1, image.height * width // image.width))
    small = resize_lanczos(image, *inner)
    canvas = _centred(small, width, height)
    left, top = width // 2 - small.width // 2, height // 2 - small.height // 2
    right, bottom = left + small.width, top + small.height
    edges = (
        ((0, 0, 1, small.height), (0, top, left, bottom)),
        ((small.width - 1, 0, small.width, small.height), (right, top, width, bottom)),
        ((0, 0, small.width, 1), (left, 0, right, top)),
        ((0, small.height - 1, small.width, small.height), (left, bottom, right, height)),
    )
    for edge, (x0, y0, x1, y1) in edges:
        if x1 > x0 and y1 > y0:
            canvas.paste(small.crop(edge).resize((x1 - x0, y1 - y0)), (x0, y0))
    return canvas
