"""Pictures keep what they were made with through every format."""

import io

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from pipeline.images.embedded_text import read_text
from pipeline.images.encode import convert, encode_image
from pipeline.images.read import ImageTooLarge, UnreadableImage, look_at, open_image, open_upright

FORMATS = ("png", "jpg", "jpeg", "webp")
PARAMETERS = '{"prompt": "a cat", "seed": 7}'


def make_picture(mode: str = "RGB", size: tuple[int, int] = (24, 16)) -> Image.Image:
    return Image.linear_gradient("L").resize(size).convert(mode)


@pytest.mark.parametrize("output_format", FORMATS)
@pytest.mark.parametrize("parameters", [PARAMETERS, '{"prompt": "一只猫 🐈 naïve"}', "a\nSteps: 3"])
def test_parameters_are_read_back_from_every_format(output_format: str, parameters: str) -> None:
    data = encode_image(make_picture(), output_format, parameters, "fooocus")
    assert read_text(open_image(data)) == (parameters, "fooocus")


@pytest.mark.parametrize("output_format", FORMATS)
def test_a_picture_without_parameters_says_nothing(output_format: str) -> None:
    assert read_text(open_image(encode_image(make_picture(), output_format))) is None


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
def test_conversion_keeps_the_parameters(source: str, target: str) -> None:
    made = encode_image(make_picture(), source, PARAMETERS, "a1111")
    converted = open_image(convert(made, target))
    assert converted.format == {"png": "PNG", "webp": "WEBP"}.get(target, "JPEG")
    assert read_text(converted) == (PARAMETERS, "a1111")


def test_png_text_chunks_have_the_names_that_other_tools_read() -> None:
    image = Image.open(io.BytesIO(encode_image(make_picture(), "png", PARAMETERS, "fooocus")))
    assert isinstance(image, PngImagePlugin.PngImageFile)
    assert image.text == {"parameters": PARAMETERS, "fooocus_scheme": "fooocus"}


def test_exif_stands_in_both_directories() -> None:
    image = Image.open(io.BytesIO(encode_image(make_picture(), "jpg", PARAMETERS, "fooocus")))
    exif = image.getexif()
    assert exif.get_ifd(0x8769)[0x9286] == b"ASCII\0\0\0" + PARAMETERS.encode()
    assert (exif[0x9286], exif[0x927C]) == (PARAMETERS, "fooocus")  # as text: Fooocus reads these


def test_a_utf16_comment_is_read_in_either_byte_order() -> None:
    # The low byte of 一 is zero, as the high one of Latin letters.
    for comment in (
        "a cat, 猫",
        '{"prompt": "一一一一一一一一"}',
        "一" * 40 + "\nSteps: 3, Seed: 1",
    ):
        for order in ("utf-16-be", "utf-16-le", "utf-16"):
            exif = Image.Exif()
            exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + comment.encode(order)
            buffer = io.BytesIO()
            make_picture().save(buffer, "JPEG", exif=exif.tobytes())
            text = read_text(open_image(buffer.getvalue()))
            assert text is not None
            assert text.parameters == comment


@pytest.mark.parametrize("output_format", ["jpg", "webp"])
def test_parameters_too_long_for_exif_do_not_fail_the_picture(output_format: str) -> None:
    data = encode_image(make_picture(), output_format, "x" * 200_000, "fooocus")
    assert open_image(data).size == (24, 16)


@pytest.mark.parametrize("output_format", FORMATS)
@pytest.mark.parametrize("mode", ["RGBA", "L", "P", "LA", "CMYK", "1"])
def test_every_mode_can_be_encoded(mode: str, output_format: str) -> None:
    assert open_image(encode_image(make_picture(mode), output_format)).size == (24, 16)


def test_alpha_is_laid_on_white_in_jpeg() -> None:
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert open_image(encode_image(image, "jpg")).getpixel((4, 4)) == (255, 255, 255)


def test_alpha_is_composited_in_float32_and_truncated() -> None:
    """Every level under every alpha, as the reference's NumPy expression gives it."""
    levels = np.arange(256, dtype=np.uint8)
    layered = np.zeros((256, 256, 4), np.uint8)
    layered[..., 0] = layered[..., 1] = layered[..., 2] = levels[None, :]
    layered[..., 3] = levels[:, None]
    buffer = io.BytesIO()
    Image.fromarray(layered).save(buffer, "PNG")
    alpha = layered[..., 3:].astype(np.float32) / 255.0
    wanted = layered[..., :3].astype(np.float32) * alpha + 255.0 * (1.0 - alpha)
    made = np.asarray(open_upright(buffer.getvalue()))
    np.testing.assert_array_equal(made, wanted.clip(0, 255).astype(np.uint8))


def test_a_picture_is_turned_as_its_exif_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    make_picture(size=(24, 16)).save(buffer, "JPEG", exif=exif.tobytes())
    assert open_upright(buffer.getvalue()).size == (16, 24)


@pytest.mark.parametrize(
    "data",
    [b"", b"not a picture", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\x89PNG\r\n\x1a\n"],
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableImage):
        open_image(data)


@pytest.mark.parametrize("output_format", FORMATS)
def test_a_picture_cut_short_is_refused(output_format: str) -> None:
    data = encode_image(make_picture(size=(200, 200)), output_format)
    with pytest.raises(UnreadableImage):
        open_image(data[: len(data) // 2])


def test_a_picture_with_too_many_pixels_is_refused_before_it_is_decoded() -> None:
    buffer = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(buffer, "PNG")
    with pytest.raises(ImageTooLarge):
        open_image(buffer.getvalue())
    with pytest.raises(ImageTooLarge):
        open_image(encode_image(make_picture(), "png"), pixel_limit=100)


@pytest.mark.parametrize("output_format", FORMATS)
def test_a_look_at_a_picture_tells_size_format_and_text(output_format: str) -> None:
    facts = look_at(encode_image(make_picture(), output_format, PARAMETERS, "a1111"))
    assert (facts.width, facts.height) == (24, 16)
    assert facts.format == {"jpg": "jpeg"}.get(output_format, output_format)
    assert facts.text == (PARAMETERS, "a1111")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0MM\0\x2a\0\0\0\x08\xff", b"Exif\0\0abc"])
def test_a_picture_with_damaged_exif_is_a_picture_without_text(exif: bytes) -> None:
    buffer = io.BytesIO()
    make_picture().save(buffer, "JPEG", exif=exif)
    assert look_at(buffer.getvalue()).text is None
    assert open_image(convert(buffer.getvalue(), "png")).size == (24, 16)
