"""Picture files without their words: same pixels, no parameters."""

import io

import pytest
from PIL import Image

from pipeline.images.encode import encode_image
from pipeline.images.metadata_strip import without_metadata
from pipeline.images.read import look_at
from pipeline.images.thumbnail import SIDE, make_thumbnail


def picture(kind: str, size: tuple[int, int] = (40, 30)) -> bytes:
    image = Image.effect_noise(size, 80).convert("RGB")
    return encode_image(image, kind, "a secret prompt", "fooocus")


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_the_words_go_and_every_pixel_stays(kind: str) -> None:
    data = picture(kind)
    bare = without_metadata(data)
    assert look_at(data).text is not None
    assert look_at(bare).text is None
    assert b"secret" not in bare
    one, two = Image.open(io.BytesIO(data)), Image.open(io.BytesIO(bare))
    assert one.tobytes() == two.tobytes()
    assert without_metadata(bare) == bare


@pytest.mark.parametrize(
    "data", [b"", b"\x89PNG\r\n\x1a\n\x00", b"\xff\xd8\xff", b"GIF89a", b"RIFF"]
)
def test_what_is_damaged_or_unknown_stays_as_it_is(data: bytes) -> None:
    assert without_metadata(data) == data


def test_a_thumbnail_is_small_and_keeps_the_shape() -> None:
    with Image.open(io.BytesIO(make_thumbnail(picture("png", (1000, 500))))) as small:
        assert (small.format, small.size) == ("WEBP", (SIDE, SIDE // 2))
    with Image.open(io.BytesIO(make_thumbnail(picture("png", (40, 30))))) as small:
        assert small.size == (40, 30)
