"""The reference's third way to resize an image, which no request of ours reaches."""

from PIL import Image

from pipeline.images.resize import resize_lanczos


def resize_padded(image: Image.Image, width: int, height: int) -> Image.Image:
    """The largest image of its own shape that fits; its outermost pixels fill the rest."""
    if width * image.height < height * image.width:
        inner = (width, max(1, image.height * width // image.width))
    else:
        inner = (max(1, image.width * height // image.height), height)
    small = resize_lanczos(image, *inner)
    left, top = width // 2 - small.width // 2, height // 2 - small.height // 2
    made = Image.new(image.mode, (width, height))
    made.paste(small, (left, top))
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
