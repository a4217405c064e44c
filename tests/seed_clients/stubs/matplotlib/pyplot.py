"""Prints what would have been drawn."""


def imshow(image):
    image.load()
    print("imshow", image.format, *image.size)


def show():
    print("show")
