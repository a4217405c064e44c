"""No text holds a parser for long: whoever sends one would stop the whole server."""

import time
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.parsers import CHARS, WORST, Parse, cpu_seconds, made, parsers
from pipeline.request.decode import decode_params
from pipeline.request.prompts import read_prompts
from pipeline.text.weights import parse_weights

# Half a second of CPU time is generous on a busy machine, where 64 kB take some 20 ms at most, and
# far below what a quadratic parser takes: the least of those found took five seconds at 16 kB.
BOUND_S = 0.5

TOKENS = (
    *("[", "[[", "]]", "(", ")", "((", "\\(", ":", "1", ".", ",", "-", "_", "__", "a", " ", "\n"),
    *("<lora:a:", "<lora:", ">", '"', "'", "\\", "{", "}", "{prompt}", "embedding:", "*", "<span"),
    *("Steps: 3", "Negative prompt:", 'Lora weights: "', "\u00d7", "\ud800"),
)
tokens = st.lists(st.sampled_from(TOKENS), max_size=3).map("".join)
shapes = st.tuples(tokens, tokens.filter(bool), tokens)


@cache
def parser(name: str) -> Parse:
    return parsers()[name]


def is_quick(parse: Parse, text: str) -> bool:
    """Whether it stays below the bound, given a second try on a busy machine."""
    return any(cpu_seconds(parse, text) < BOUND_S for _ in range(2))


@pytest.mark.parametrize(
    ("name", "shape"), [(name, shape) for name, found in WORST.items() for shape in found]
)
def test_texts_that_are_known_to_be_hard_are_parsed_at_once(
    name: str, shape: tuple[str, str, str]
) -> None:
    assert is_quick(parser(name), made(shape, CHARS))


@pytest.mark.parametrize("name", WORST)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(shape=shapes)
def test_any_text_of_repeated_parts_is_parsed_at_once(
    name: str, shape: tuple[str, str, str]
) -> None:
    parse = parser(name)
    # Small first, so that a quadratic parser is found in seconds.
    for chars in (CHARS // 8, CHARS):
        assert is_quick(parse, made(shape, chars)), f"{chars} characters"


def test_prompts_may_be_nested_to_any_depth() -> None:
    ((text, weight),) = parse_weights("(" * 1000 + "cat:1.5" + ")" * 1000)
    assert text == "cat"
    assert weight == pytest.approx(1.5)


def test_lists_in_a_body_may_be_nested_as_deep_as_json_may() -> None:
    for depth in (10, 500, 900, 2000):
        with pytest.raises(Exception, match=r"array|nested"):
            decode_params(b'{"loras": ' + b"[" * depth + b"]" * depth + b"}")


def test_a_number_of_any_length_in_a_lora_tag_costs_its_length() -> None:
    started = time.thread_time()
    assert read_prompts("<lora:a:" + "1" * 64_000, "", ["a.safetensors"]).loras == ()
    assert time.thread_time() - started < BOUND_S
