"""Prompt weights and sections, as Fooocus's users write prompts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.text.chunks import SECTION, Section, Special, make_sections, split_words
from pipeline.text.weights import parse_weights

SPECIAL = Special(start=100, end=101, pad=0)


def parse(prompt: str) -> list[tuple[str, float]]:
    return [(text, round(weight, 4)) for text, weight in parse_weights(prompt) if text]


def sections_of(*lengths: int) -> list[list[int]]:
    """Sections of words with so many tokens each; a word's tokens are its number from 1."""
    words = (([number] * length, 1.0) for number, length in enumerate(lengths, 1))
    return [[int(value) for value in section.values] for section in make_sections(words, SPECIAL)]


def weigh(prompt: str) -> list[tuple[str, float]]:
    """Words with their weights; a word's token is its length."""
    words = split_words(parse_weights(prompt), lambda word: [len(word)], lambda _: None)
    return [(str(value), weight) for values, weight in words for value in values]


@pytest.mark.parametrize(
    ("prompt", "runs"),
    [
        ("a cat", [("a cat", 1.0)]),
        ("a (cat)", [("a ", 1.0), ("cat", 1.1)]),
        ("((cat))", [("cat", 1.21)]),
        ("(cat:1.3) dog", [("cat", 1.3), (" dog", 1.0)]),
        ("(red (hat:1.4) on:1.2)", [("red ", 1.2), ("hat", 1.4), (" on", 1.2)]),
        ("(a:b:1.4)", [("a:b", 1.4)]),
        ("(cat:-1)", [("cat", -1.0)]),
        ("( spaced : 1.3 )", [(" spaced ", 1.3)]),
        ("(cat:abc)", [("cat:abc", 1.1)]),
        ("(cat:)", [("cat:", 1.1)]),
        ("(:1.5)", [(":1.5", 1.1)]),
        ("(cat:nan)", [("cat:nan", 1.1)]),
        ("[cat]", [("[cat]", 1.0)]),
        (r"a \(cat\)", [("a (cat)", 1.0)]),
        (r"(smile :\) :1.2)", [("smile :) ", 1.2)]),
        ("(open", [("(open", 1.0)]),
        ("((a:1.5)", [("(a", 1.5)]),
        ("a) (b:1.2", [("a) (b:1.2", 1.0)]),
        ("", []),
    ],
)
def test_parentheses_weigh_what_they_hold(prompt: str, runs: list[tuple[str, float]]) -> None:
    assert parse(prompt) == runs


@given(st.text(alphabet="ab ():.12\\", max_size=60))
def test_any_text_can_be_parsed_and_only_parentheses_and_weights_go(prompt: str) -> None:
    kept = "".join(text for text, _ in parse_weights(prompt))
    assert kept.replace("(", "").replace(")", "").count("a") == prompt.count("a")


def test_deep_nesting_is_no_problem() -> None:
    assert parse("(" * 200 + "cat" + ")" * 200)[0][0] == "cat"


def test_lines_and_spaces_separate_words() -> None:
    assert weigh("a  (big\ncat:1.5)") == [("1", 1.0), ("3", 1.5), ("3", 1.5)]


def test_a_text_without_words_is_one_empty_section() -> None:
    assert sections_of() == [[100, 101] + [0] * 75]


def test_a_short_word_moves_whole_to_the_next_section() -> None:
    first, second = sections_of(73, 7)
    assert first == [100] + [1] * 73 + [101, 0, 0]
    assert second == [100] + [2] * 7 + [101] + [0] * 68


def test_a_long_word_is_cut_where_the_section_ends() -> None:
    first, second = sections_of(73, 8)
    assert first == [100] + [1] * 73 + [2, 2, 101]
    assert second == [100] + [2] * 6 + [101] + [0] * 69


def test_a_full_section_is_not_followed_by_an_empty_one() -> None:
    assert sections_of(75) == [[100] + [1] * 75 + [101]]


@given(st.lists(st.integers(1, 200), max_size=12))
def test_no_token_is_lost_and_every_section_is_whole(lengths: list[int]) -> None:
    sections = sections_of(*lengths)
    assert all(len(section) == SECTION for section in sections)
    kept = [t for section in sections for t in section if t not in SPECIAL]
    assert kept == [n for n, length in enumerate(lengths, 1) for _ in range(length)]


def test_an_unknown_textual_inversion_leaves_nothing_but_what_follows_its_comma() -> None:
    assert weigh("embedding:missing cat") == [("3", 1.0)]
    assert weigh("embedding:missing, cat") == [("1", 1.0), ("3", 1.0)]


def test_weights_do_not_reach_start_end_and_padding() -> None:
    words = split_words(parse_weights("(cat:2)"), lambda _: [7], lambda _: None)
    section: Section = make_sections(words, SPECIAL)[0]
    assert section.weights == [1.0, 2.0] + [1.0] * 75
