"""Every parser of texts and files that strangers send, with generated and damaged ones.

A parser may refuse its input by the errors named here and in no other way. How its time grows is
what ``tests/unit/test_linear_parsers.py`` measures; here no single input may take long.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from io import BytesIO
from typing import Any, Final

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from bench.parsers import parsers
from handlers.http.negotiation import (
    by_preference,
    converted_format,
    prefers_encoding,
    wanted_image_format,
)
from handlers.http.ranges import is_one_range
from handlers.http.refusal import RequestRefused
from handlers.live.frames import decode_frame
from handlers.service.base64_text import decode_base64
from pipeline.errors import PipelineError
from pipeline.files.header import model_header, read_metadata
from pipeline.images.encode import encode_image
from pipeline.images.metadata_strip import without_metadata
from pipeline.images.read import look_at
from pipeline.request.decode import decode_params
from storage.addresses import is_loopback, is_public
from tests.fuzz.scale import SCALE, VARIATIONS, examples
from tests.fuzz.variations import byte_variations, text_variations

log = logging.getLogger(__name__)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.filterwarnings("ignore::UserWarning"),  # Pillow, of damaged EXIF that it skips
]

LIMIT_S: Final = 1.0  # of CPU time for one input of a few kB, on a busy machine
REFUSALS: Final = (PipelineError, RequestRefused, msgspec.DecodeError)

Parse = Callable[[Any], object]

TOKENS: Final = (
    *("[", "[[", "]]", "(", ")", "\\(", ":", "1", "1.5", "-", ".", ",", "__", "a", " ", "\n"),
    *("<lora:", ">", '"', "'", "\\", "{", "}", "{prompt}", "embedding:", "*", "\u00d7", "\0"),
    *("Steps: 3, ", "Negative prompt: ", "Size: 8x8, ", "Lora hashes: ", "\u732b", "\ud800"),
    *('{"', '":', "null", "true", "1e999", "[]", "loras", "prompt", "image_seed", "op", "types"),
    *("image/png", ";q=", "q=0", "bytes=", "gzip", "*/*", "data:image/png;base64,", "AAAA", "="),
    *("127.0.0.1", "::1", "[", "%", "0x7f", "localhost", "٣"),
)
TEXTS: Final = st.lists(st.one_of(st.sampled_from(TOKENS), st.text(max_size=4)), max_size=24).map(
    "".join
)
SEEDS: Final = st.integers(0, 2**32 - 1)
JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from([*TOKENS, "loras", "controlnet_image"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


def _encoded(value: object) -> bytes:
    return msgspec.json.encode(value) if _is_sound(value) else str(value).encode(errors="replace")


def _is_sound(value: object) -> bool:
    try:
        msgspec.json.encode(value)
    except (UnicodeEncodeError, OverflowError, ValueError):
        return False
    return True


BODIES: Final = st.one_of(
    JSON.map(_encoded),
    st.dictionaries(
        st.sampled_from(["prompt", "image_seed", "loras", "outpaint_distance", "controlnet_image"]),
        JSON,
        max_size=4,
    ).map(_encoded),
    TEXTS.map(lambda text: text.encode(errors="replace")),
    TEXTS.map(lambda text: text.encode("utf-16", errors="replace")),
    st.binary(max_size=64),
)


@cache
def _pictures() -> tuple[bytes, ...]:
    """A small picture of each kind, with and without parameters."""
    image = Image.new("RGB", (9, 7), (200, 30, 60))
    made = [
        encode_image(image, kind, '{"prompt": "\u732b"}', "fooocus")
        for kind in ("png", "jpeg", "webp")
    ]
    for kind in ("GIF", "BMP", "TIFF"):
        buffer = BytesIO()
        image.save(buffer, kind)
        made.append(buffer.getvalue())
    return tuple(made)


@st.composite
def damaged_pictures(draw: st.DrawFn) -> bytes:
    """A picture cut short, with bytes changed, doubled or put in."""
    data = bytearray(draw(st.sampled_from(_pictures())))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data) - 1)) if data else 0
        match draw(st.integers(0, 3)):
            case 0:
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=4))
            case 1:
                del data[at : at + draw(st.integers(1, 32))]
            case 2:
                data[at:at] = data[at : at + 24]
            case _:
                del data[at:]
    return bytes(data)


@st.composite
def safetensors_heads(draw: st.DrawFn) -> bytes:
    """The beginning of a model file, its length field right or wrong."""
    head = draw(
        st.one_of(
            JSON.map(_encoded),
            st.dictionaries(st.just("__metadata__"), JSON, min_size=1).map(_encoded),
        )
    )
    length = draw(st.one_of(st.just(len(head)), st.integers(0, 2**64 - 1)))
    return length.to_bytes(8, "little") + head


def _headers(header: str) -> None:
    by_preference(header)
    prefers_encoding(header, "gzip")
    converted_format(header, "image/png")
    is_one_range([header])
    wanted_image_format([header])


def _addresses(text: str) -> None:
    is_loopback(text)
    with suppress(ValueError):  # no address: its caller asks for those that were resolved
        is_public(text)


def _base64(text: str) -> None:
    with suppress(ValueError):  # its caller's sign that the text is none
        decode_base64(text)


def _frame(text: str) -> None:
    decode_frame(text.encode(errors="replace"))  # aiohttp takes no text frame that is not UTF-8


TEXT_PARSERS: Final[dict[str, Parse]] = {
    **parsers(),
    "headers": _headers,
    "addresses": _addresses,
    "base64": _base64,
    "frames": _frame,
}
FILE_PARSERS: Final[dict[str, Parse]] = {
    "picture": look_at,
    "picture without words": without_metadata,
}


@pytest.fixture(scope="module")
def counted() -> Iterator[Counter[str]]:
    """How many inputs each parser has been given; logged in the end."""
    counts: Counter[str] = Counter()
    yield counts
    log.info("%d inputs: %s", counts.total(), dict(counts))


def check(parse: Parse, given_input: object) -> None:
    """It ends soon, by a result or a refusal."""
    started = time.thread_time()
    try:
        parse(given_input)
    except REFUSALS:
        pass
    except BaseException as error:
        error.add_note(f"the input: {given_input!r}")
        raise
    assert time.thread_time() - started < LIMIT_S, repr(given_input)


def fuzzed(count: int) -> settings:
    """At the scale of the run; without shrinking, which a slow input would make slower."""
    return settings(
        max_examples=examples(count),
        deadline=None,
        derandomize=SCALE == 1,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],
    )


@pytest.mark.parametrize("name", TEXT_PARSERS)
@fuzzed(100)
@given(text=TEXTS, seed=SEEDS)
def test_any_text_is_parsed_or_refused(
    name: str, text: str, seed: int, counted: Counter[str]
) -> None:
    for varied in text_variations(text, TOKENS, seed, VARIATIONS):
        check(TEXT_PARSERS[name], varied)
    counted[name] += VARIATIONS


@fuzzed(200)
@given(body=BODIES, seed=SEEDS)
def test_any_body_is_decoded_or_refused(body: bytes, seed: int, counted: Counter[str]) -> None:
    for varied in byte_variations(body, seed, VARIATIONS):
        check(decode_params, varied)
        check(decode_frame, varied)
    counted["bodies"] += VARIATIONS


@pytest.mark.parametrize("name", FILE_PARSERS)
@fuzzed(150)
@given(data=damaged_pictures(), seed=SEEDS)
def test_any_picture_file_is_read_or_refused(
    name: str, data: bytes, seed: int, counted: Counter[str]
) -> None:
    for varied in byte_variations(data, seed, VARIATIONS):
        check(FILE_PARSERS[name], varied)
    counted[name] += VARIATIONS


@fuzzed(100)
@given(data=safetensors_heads(), seed=SEEDS)
def test_any_model_file_says_something_or_nothing(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, seed: int, counted: Counter[str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "model.safetensors"
    for varied in byte_variations(data, seed, VARIATIONS):
        path.write_bytes(varied)
        check(lambda name: model_header(read_metadata(name)), path)
    counted["model files"] += VARIATIONS
